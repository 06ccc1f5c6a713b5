//! Which columns of a Parquet file hold the images and their classes, and what the classes are called.

use ::parquet::basic::{ConvertedType, LogicalType, Type};
use ::parquet::file::metadata::FileMetaData;
use ::parquet::schema::types::ColumnDescriptor;

/// Names of a column of images. The first that exists is used; without any, the only column of bytes.
const IMAGES: [&str; 4] = ["image", "img", "jpg", "png"];
/// Names of a column of classes. The first that exists is used; without any, the only column of whole numbers.
const LABELS: [&str; 6] = ["label", "labels", "cls", "class", "class_id", "fine_label"];

/// A column: its place among all, and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) place: usize,
    pub(super) name: String,
}

/// The columns that are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) image: Column,
    /// None when the file has no column of whole numbers.
    pub(super) label: Option<Column>,
}

impl Columns {
    /// Finds the columns.
    ///
    /// # Errors
    /// When a column is missing, or several may be meant. Names all columns.
    pub(super) fn find(file: &FileMetaData) -> std::result::Result<Self, String> {
        let leaves: Vec<(usize, &ColumnDescriptor)> =
            file.schema_descr().columns().iter().map(AsRef::as_ref).enumerate().collect();
        let of = |fits: &dyn Fn(&ColumnDescriptor) -> bool| -> Vec<Column> {
            let fitting = leaves.iter().filter(|(_, leaf)| leaf.max_rep_level() == 0 && fits(leaf));
            let name = |leaf: &ColumnDescriptor| leaf.path().parts().first().cloned().unwrap_or_default();
            fitting.map(|(place, leaf)| Column { place: *place, name: name(leaf) }).collect()
        };
        let choose = |found: Vec<Column>, known: &[&str]| {
            let named = known.iter().find_map(|name| found.iter().find(|column| column.name == *name));
            match (named, found.as_slice()) {
                (Some(column), _) | (None, [column]) => Ok(Some(column.clone())),
                (None, []) => Ok(None),
                (None, _) => Err(found.iter().map(|column| column.name.clone()).collect::<Vec<_>>()),
            }
        };
        let all: Vec<String> = leaves.iter().map(|(_, leaf)| leaf.path().string()).collect();
        let all = all.join(", ");
        let image = choose(of(&is_image), &IMAGES).map_err(|several| {
            format!("several columns may hold the images: {}; call one of them image", several.join(", "))
        })?;
        let image = image.ok_or_else(|| {
            format!(
                "no column holds images; expected image with bytes and path, or bytes alone. Columns: {all}"
            )
        })?;
        let label = choose(of(&is_label), &LABELS).map_err(|several| {
            format!("several columns may hold the classes: {}; call one of them label", several.join(", "))
        })?;
        Ok(Self { image, label })
    }

    /// Returns a sentence when the columns have other names than usual, or one is missing.
    pub(super) fn note(&self) -> Option<String> {
        match &self.label {
            None => Some("has no column of class numbers: all images are one class".into()),
            Some(label) if self.image.name == "image" && label.name == "label" => None,
            Some(label) => Some(format!(
                "takes the images from column {} and the classes from {}",
                self.image.name, label.name
            )),
        }
    }
}

/// Whether a column holds bytes: by itself, or as `bytes` in a pair of bytes and path.
fn is_image(leaf: &ColumnDescriptor) -> bool {
    let plain = leaf.converted_type() == ConvertedType::NONE && leaf.logical_type_ref().is_none();
    let place = match leaf.path().parts() {
        [_] => true,
        [_, inner] => inner == "bytes",
        _ => false,
    };
    plain && place && leaf.physical_type() == Type::BYTE_ARRAY
}

/// Whether a column holds whole numbers.
fn is_label(leaf: &ColumnDescriptor) -> bool {
    let whole = match leaf.logical_type_ref() {
        None => true,
        Some(kind) => matches!(kind, LogicalType::Integer { .. }),
    };
    let plain = !matches!(
        leaf.converted_type(),
        ConvertedType::DECIMAL
            | ConvertedType::DATE
            | ConvertedType::TIME_MILLIS
            | ConvertedType::TIME_MICROS
            | ConvertedType::TIMESTAMP_MILLIS
            | ConvertedType::TIMESTAMP_MICROS
    );
    whole
        && plain
        && leaf.path().parts().len() == 1
        && matches!(leaf.physical_type(), Type::INT32 | Type::INT64)
}

/// Returns the names of the classes of the column `label`, if the file has them: `info.features.LABEL.names` in the
/// JSON that Hugging Face's library writes.
pub(super) fn class_names(file: &FileMetaData, label: &str) -> Option<Vec<String>> {
    let pairs = file.key_value_metadata()?;
    let text = pairs.iter().find(|pair| pair.key == "huggingface")?.value.as_deref()?;
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let names = value.get("info")?.get("features")?.get(label)?.get("names")?.as_array()?;
    names.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}
