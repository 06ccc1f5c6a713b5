//! Data sets in the formats of others: shards of WebDataset, Parquet files of Hugging Face, text lists.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use tempfile::TempDir;
use var_tokenizer::images::{Source, Split};

use super::sources::{refusal, tar_of};
use super::{encoded, folder, png, tree};

/// Columns as Hugging Face's library writes them.
pub(crate) const SCHEMA: &str = "message schema {
    optional group image { optional binary bytes; optional binary path (UTF8); }
    optional int64 label;
}";

/// An image and its class, either of which may be null.
pub(crate) type Row = (Option<Vec<u8>>, Option<i64>);

/// The JSON that names the classes of `column`.
pub(crate) fn features(column: &str, names: &[String]) -> String {
    serde_json::json!({ "info": { "features": { column: { "names": names, "_type": "ClassLabel" } } } })
        .to_string()
}

/// A Parquet file of `rows`, `of_group` in each row group and about `of_page` bytes in a page.
pub(crate) fn parquet_of(
    rows: &[Row],
    schema: &str,
    json: Option<String>,
    of_group: usize,
    of_page: usize,
) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_data_page_size_limit(of_page)
        .set_write_batch_size(1)
        .set_dictionary_page_size_limit(2000)
        .set_key_value_metadata(json.map(|json| vec![KeyValue::new("huggingface".into(), json)]))
        .build();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    for rows in rows.chunks(of_group) {
        let mut group = writer.next_row_group().unwrap();
        while let Some(mut column) = group.next_column().unwrap() {
            let path = {
                use parquet::column::writer::ColumnWriter as Writer;
                match column.untyped() {
                    Writer::ByteArrayColumnWriter(writer) => writer.get_descriptor().path().string(),
                    Writer::Int64ColumnWriter(writer) => writer.get_descriptor().path().string(),
                    _ => panic!("another column"),
                }
            };
            let levels = |some: &dyn Fn(&Row) -> bool, full: i16| -> Vec<i16> {
                rows.iter().map(|row| if some(row) { full } else { 0 }).collect()
            };
            if path.ends_with("path") {
                let values: Vec<ByteArray> =
                    rows.iter().filter(|row| row.0.is_some()).map(|_| ByteArray::from("x.png")).collect();
                let levels = levels(&|row| row.0.is_some(), 2);
                column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
            } else if let parquet::column::writer::ColumnWriter::Int64ColumnWriter(_) = column.untyped() {
                let values: Vec<i64> = rows.iter().filter_map(|row| row.1).collect();
                let levels = levels(&|row| row.1.is_some(), 1);
                column.typed::<Int64Type>().write_batch(&values, Some(&levels), None).unwrap();
            } else {
                let values: Vec<ByteArray> =
                    rows.iter().filter_map(|row| row.0.clone()).map(ByteArray::from).collect();
                let full = if path.contains('.') { 2 } else { 1 };
                let levels = levels(&|row| row.0.is_some(), full);
                column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
            }
            column.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.into_inner().unwrap()
}

/// The built-in images in four layouts.
pub(crate) struct Copies {
    _place: TempDir,
    pub(crate) folder: PathBuf,
    pub(crate) parquet: PathBuf,
    pub(crate) shards: String,
    pub(crate) list: PathBuf,
}

/// Writes the built-in images, one of `step`, in four layouts with the same order.
pub(crate) fn copies(step: usize) -> Copies {
    let place = folder();
    let emoji = Source::open("emoji").unwrap();
    let root = place.path().join("folder");
    let mut images: Vec<(String, Vec<u8>)> = (0..emoji.len())
        .step_by(step)
        .map(|i| {
            let class = &emoji.classes()[emoji.entries()[i].class as usize];
            (format!("{class}/{i:05}.png"), encoded(emoji.load(i).unwrap(), image::ImageFormat::Png))
        })
        .collect();
    images.sort();
    for class in emoji.classes() {
        std::fs::create_dir_all(root.join(class)).unwrap();
    }
    let mut names = emoji.classes().to_vec();
    names.sort();
    let (mut list, mut rows, mut members) = (String::new(), Vec::new(), Vec::new());
    for (i, (name, bytes)) in images.iter().enumerate() {
        std::fs::write(root.join(name), bytes).unwrap();
        let class = name.split('/').next().unwrap();
        list.push_str(&format!("folder/{name}\t{class}\r\n"));
        rows.push((Some(bytes.clone()), Some(names.iter().position(|name| name == class).unwrap() as i64)));
        members.push((format!("{i:06}.png"), bytes.clone()));
        members.push((format!("{i:06}.json"), format!("{{\"label\": \"{class}\"}}").into_bytes()));
    }
    let place_of = |name: &str| place.path().join(name);
    std::fs::write(place_of("list.tsv"), list).unwrap();
    std::fs::create_dir_all(place_of("hf/data")).unwrap();
    let half = rows.len() / 2;
    for (i, rows) in [&rows[..half], &rows[half..]].iter().enumerate() {
        let bytes = parquet_of(rows, SCHEMA, Some(features("label", &names)), 100, 20_000);
        std::fs::write(place_of(&format!("hf/data/train-{i:05}-of-00002.parquet")), bytes).unwrap();
    }
    std::fs::create_dir_all(place_of("shards")).unwrap();
    for (i, members) in members.chunks(2 * members.len().div_ceil(24)).enumerate() {
        let borrowed: Vec<(&str, Vec<u8>)> =
            members.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        std::fs::write(place_of(&format!("shards/{i:06}.tar")), tar_of(&borrowed)).unwrap();
    }
    let last = std::fs::read_dir(place_of("shards")).unwrap().count() - 1;
    let shards = format!("{}/{{000000..{last:06}}}.tar", place_of("shards").display());
    Copies { folder: root, parquet: place_of("hf"), shards, list: place_of("list.tsv"), _place: place }
}

/// Classes, parts and pixels of a source, without the names of the images.
fn unnamed(source: &Source) -> Vec<(String, Option<Split>, Vec<u8>)> {
    let entries = source.entries().iter().enumerate();
    entries
        .map(|(i, entry)| {
            let class = source.classes()[entry.class as usize].clone();
            (class, entry.split, source.load(i).unwrap().into_raw())
        })
        .collect()
}

#[test]
fn the_emoji_are_the_same_in_folders_parquet_files_shards_and_lists() {
    let copies = copies(1);
    let of_folder = Source::open(&copies.folder).unwrap();
    let expected = unnamed(&of_folder);
    assert_eq!(expected.len(), 3781);
    let glob = copies.parquet.join("data/train-*.parquet");
    let braces = copies.parquet.join("data/train-{00000..00001}-of-00002.parquet");
    let shards = Path::new(&copies.shards);
    for path in [&copies.parquet, &glob, &braces, shards, shards.parent().unwrap(), &copies.list] {
        let source = Source::open(path).unwrap();
        assert_eq!(source.classes(), of_folder.classes(), "{}", path.display());
        assert!(unnamed(&source) == expected, "{} differs", path.display());
        assert_eq!(source.partition(0.1, 0).unwrap(), of_folder.partition(0.1, 0).unwrap());
    }
    let fingerprint = |path: &Path| Source::open(path).unwrap().fingerprint();
    assert_eq!(fingerprint(shards), fingerprint(shards.parent().unwrap()));
    assert_eq!(fingerprint(&glob), fingerprint(&braces));
    assert_ne!(fingerprint(&glob), fingerprint(&copies.folder));
}

#[test]
fn more_shards_than_a_process_may_have_open_files_are_read() {
    let root = folder();
    // As many as a usual limit of 1024 open files.
    for i in 0..1100 {
        let members = [("a.png", png([i as u8, (i / 256) as u8, 0])), ("a.cls", b"3".to_vec())];
        std::fs::write(root.path().join(format!("{i:04}.tar")), tar_of(&members)).unwrap();
    }
    let source = Source::open(root.path().join("{0000..1099}.tar")).unwrap();
    assert_eq!((source.len(), source.classes().len(), source.name(7).as_ref()), (1100, 4, "0007/a.png"));
    for i in [0, 1099, 512] {
        assert_eq!(source.load(i).unwrap().get_pixel(0, 0).0, [i as u8, (i / 256) as u8, 0]);
    }
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(open < 900, "{open} open files");
}

#[test]
fn missing_and_cut_shards_are_named() {
    let shard = || tar_of(&[("a.png", png([1; 3])), ("a.cls", b"0".to_vec())]);
    let root = tree(&[("s/00.tar", shard()), ("s/02.tar", shard()), ("s/05.tar", shard())]);
    let text = refusal(&root.path().join("s/{00..05}.tar"));
    assert!(
        text.contains("3 of 6 files are missing") && text.contains("01.tar") && text.contains("04.tar"),
        "{text}"
    );
    let whole = shard();
    std::fs::write(root.path().join("s/02.tar"), &whole[..whole.len() - 1500]).unwrap();
    let text = refusal(&root.path().join("s/{00,02,05}.tar"));
    assert!(text.contains("s/02.tar") && text.contains("truncated"), "{text}");
    assert!(refusal(&root.path().join("s/{00..05.tar")).contains("not closed"));
    assert!(refusal(&root.path().join("none/{0..5}.tar")).contains("there is no folder"));
    assert!(refusal(&root.path().join("s/*.parquet")).contains("no file matches"));
    assert!(refusal(&root.path().join("s/{00,0*,05}.tar")).contains("twice; name each file once"));
    let word = tree(&[("a.tar", tar_of(&[("a.png", png([1; 3])), ("a.cls", b"cat".to_vec())]))]);
    assert!(refusal(&word.path().join("a.tar")).contains("expected a class number, found 'cat'"));
}

#[test]
fn folders_that_match_a_pattern_are_refused_or_said_to_be_skipped() {
    let shard = || tar_of(&[("a.png", png([1; 3])), ("a.cls", b"0".to_vec())]);
    let root = tree(&[
        ("train/n01/a.png", png([1; 3])),
        ("train/n02/a.png", png([2; 3])),
        ("s/00.tar", shard()),
        ("s/01.tar", shard()),
        ("s/02.old/00.tar", shard()),
    ]);
    let above = format!("Name the folder above: {}", root.path().join("train").display());
    for spec in ["train/n0*", "train/{n01,n02}"] {
        let text = refusal(&root.path().join(spec));
        assert!(text.contains("matches folders; a pattern names files") && text.contains(&above), "{text}");
    }
    let source = Source::open(root.path().join("s/0*")).unwrap();
    let said: Vec<&String> = source.notes().iter().filter(|note| note.contains("02.old")).collect();
    assert!(source.len() == 2 && said.len() == 1, "{:?}", source.notes());
    assert!(said[0].contains("skips 1 folders that match"), "{said:?}");
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("class {i}")).collect()
}

fn rows(count: usize) -> Vec<Row> {
    (0..count).map(|i| (Some(png([i as u8; 3])), Some((i % 3) as i64))).collect()
}

#[test]
fn parquet_files_have_parts_by_their_names_and_classes_by_their_metadata() {
    let file = |count: usize| parquet_of(&rows(count), SCHEMA, Some(features("label", &names(5))), 4, 300);
    let root = tree(&[
        ("data/train-00000-of-00002.parquet", file(9)),
        ("data/train-00001-of-00002.parquet", file(3)),
        ("data/validation-00000-of-00001.parquet", file(4)),
        ("data/test-00000-of-00001.parquet", file(6)),
        ("README.md", b"text".to_vec()),
    ]);
    let source = Source::open(root.path()).unwrap();
    assert_eq!(source.classes(), names(5));
    let parts = source.partition(0.1, 0).unwrap();
    assert_eq!((parts.train.len(), parts.val), (12, vec![12, 13, 14, 15]));
    assert_eq!(source.name(11), "data/train-00001-of-00002.parquet/2");
    assert_eq!(source.name(16), "");
    for (i, value) in [(0, 0), (8, 8), (9, 0), (15, 3)] {
        assert_eq!(source.load(i).unwrap().get_pixel(0, 0).0, [value; 3], "{i}");
    }
    assert!(source.notes().iter().any(|note| note.contains("skips 1 files") && note.contains("test-")));
    let one = Source::open(root.path().join("data/test-00000-of-00001.parquet")).unwrap();
    assert!(one.len() == 6 && one.entries().iter().all(|entry| entry.split.is_none()));
    std::fs::write(root.path().join("data/more.parquet"), file(3)).unwrap();
    assert!(refusal(root.path()).contains("more.parquet are not"));
}

#[test]
fn columns_of_other_names_are_found_or_all_are_listed() {
    let open = |schema: &str, json: Option<String>| {
        let root = tree(&[("x.parquet", parquet_of(&rows(6), schema, json, 10, 1000))]);
        let source = Source::open(root.path().join("x.parquet")).map_err(|e| e.to_string());
        source.map(|source| (source.classes().to_vec(), source.notes().join("; "), source.load(5).unwrap()))
    };
    let (classes, note, image) = open(
        "message m { optional binary img; optional int64 fine_label; optional int64 coarse_label; }",
        Some(features("fine_label", &names(3))),
    )
    .unwrap();
    assert_eq!((classes, image.get_pixel(0, 0).0), (names(3), [5; 3]));
    assert!(note.contains("img") && note.contains("fine_label"), "{note}");
    let (classes, ..) = open("message m { optional binary picture; optional int64 kind; }", None).unwrap();
    assert_eq!(classes, ["0", "1", "2"]);
    let (classes, note, _) = open("message m { optional binary image; }", None).unwrap();
    assert_eq!((classes.len(), note.contains("all images are one class")), (1, true));
    let text =
        open("message m { optional binary a; optional binary b; optional int64 label; }", None).unwrap_err();
    assert!(text.contains("several columns may hold the images: a, b"), "{text}");
    let text =
        open("message m { optional binary image; optional int64 x; optional int64 y; }", None).unwrap_err();
    assert!(text.contains("several columns may hold the classes: x, y"), "{text}");
    let text = open("message m { optional int64 label; }", None).unwrap_err();
    assert!(text.contains("no column holds images") && text.contains("Columns: label"), "{text}");
}

#[test]
fn a_null_image_is_one_bad_image_and_a_wrong_label_an_error() {
    let mut some = rows(7);
    some[3].0 = None;
    let root = tree(&[("x.parquet", parquet_of(&some, SCHEMA, None, 4, 100))]);
    let path = root.path().join("x.parquet");
    let source = Source::open(&path).unwrap();
    let loaded: Vec<bool> = (0..7).map(|i| source.load(i).is_ok()).collect();
    assert_eq!(loaded, [true, true, true, false, true, true, true]);
    let text = source.load(3).unwrap_err().to_string();
    assert!(text.contains("x.parquet: row 3") && text.contains("has no image"), "{text}");
    for (label, expected) in
        [(Some(2), "row 5: label 2 is not from 0 to 1"), (Some(-1), "label -1"), (None, "row 5 has no label")]
    {
        let mut some: Vec<Row> = rows(7).into_iter().map(|(image, _)| (image, Some(1))).collect();
        some[5].1 = label;
        std::fs::write(&path, parquet_of(&some, SCHEMA, Some(features("label", &names(2))), 4, 100)).unwrap();
        let text = refusal(&path);
        assert!(text.contains(expected), "{text}");
    }
    let other = |names: &[String]| parquet_of(&rows(3), SCHEMA, Some(features("label", names)), 4, 100);
    let root = tree(&[("a.parquet", other(&names(3))), ("b.parquet", other(&names(4)))]);
    assert!(refusal(root.path()).contains("b.parquet has other class names than a.parquet"));
}

#[test]
fn opening_a_parquet_file_reads_no_images() {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let mut bytes = parquet_of(&rows(12), SCHEMA, Some(features("label", &names(3))), 5, 200);
    let reader = SerializedFileReader::new(bytes::Bytes::from(bytes.clone())).unwrap();
    for group in reader.metadata().row_groups() {
        let (begin, length) = group.column(0).byte_range();
        bytes[begin as usize..(begin + length) as usize].fill(0xff);
    }
    let root = tree(&[("x.parquet", bytes)]);
    let source = Source::open(root.path().join("x.parquet")).unwrap();
    let classes: Vec<u32> = source.entries().iter().map(|entry| entry.class).collect();
    assert_eq!(classes, [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]);
    assert!(source.load(7).unwrap_err().to_string().contains("damaged Parquet file: rows 5 to 9"));
}

#[test]
fn a_cut_parquet_file_is_refused_wherever_it_ends() {
    let bytes = parquet_of(&rows(12), SCHEMA, None, 5, 200);
    let place = folder();
    let path = place.path().join("x.parquet");
    for length in (1..bytes.len()).step_by(37).chain([bytes.len() - 1]) {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let text = refusal(&path);
        assert!(length < 5 || text.contains("truncated or damaged Parquet file"), "{length}: {text}");
    }
}

#[test]
fn a_list_gives_classes_by_number_or_name_or_none() {
    let root = tree(&[("a/1.png", png([1; 3])), ("a/2 b.png", png([2; 3])), ("3.png", png([3; 3]))]);
    let open = |text: &str| {
        let path = root.path().join("list.txt");
        std::fs::write(&path, text).unwrap();
        Source::open(path).map_err(|e| e.to_string())
    };
    let outside = root.path().join("3.png");
    let source =
        open(&format!("\u{feff}a/2 b.png\tdog\r\n\n{}\tcat\na/1.png\tdog", outside.display())).unwrap();
    assert_eq!(source.classes(), ["cat", "dog"]);
    let classes: Vec<u32> = source.entries().iter().map(|entry| entry.class).collect();
    assert_eq!((classes, source.name(0).as_ref()), (vec![1, 0, 1], "a/2 b.png"));
    assert_eq!([0, 1, 2].map(|i| source.load(i).unwrap().get_pixel(0, 0).0[0]), [2, 3, 1]);
    let source = open("3.png\t2\na/1.png\t0\n").unwrap();
    assert_eq!((source.classes().len(), source.entries()[0].class), (3, 2));
    let source = open("3.png\na/1.png\n").unwrap();
    assert_eq!(source.classes(), ["list"]);
    for (text, expected) in [
        ("3.png\tcat\na/9.png\tcat\n", "line 2 names"),
        ("3.png\tcat\n\na/1.png\n", "line 3 has no class, but line 1 has one"),
        ("3.png\ta/1.png\tx\n", "line 1 is not a path"),
        ("3.png\tcat\na/1.png\t7\n", "line 2 has the class '7', a number"),
        ("3.png 7\n", "a tab separates"),
        ("a\t7\n", "is not a file"),
        ("3.png\t99999999\n", "line 1 has a wrong class"),
        ("\n", "lists no images"),
    ] {
        let found = open(text).unwrap_err();
        assert!(found.contains(expected) && found.contains("list.txt"), "{found}");
    }
}

#[test]
fn an_image_that_a_list_names_twice_has_one_class_and_counts_once() {
    let root = tree(&[("a/1.png", png([1; 3])), ("2.png", png([2; 3])), ("3.png", png([3; 3]))]);
    let open = |text: &str| {
        let path = root.path().join("list.txt");
        std::fs::write(&path, text).unwrap();
        Source::open(path).map_err(|e| e.to_string())
    };
    let two = root.path().join("2.png");
    let text = format!("a/1.png\tcat\n2.png\tdog\n./a//1.png\tcat\n{}\tdog\n3.png\tcat\n", two.display());
    let source = open(&text).unwrap();
    let classes: Vec<u32> = source.entries().iter().map(|entry| entry.class).collect();
    assert_eq!(classes, [0, 1, 0]);
    assert_eq!([0, 1, 2].map(|i| source.load(i).unwrap().get_pixel(0, 0).0[0]), [1, 2, 3]);
    let note = source.notes().join("; ");
    assert!(note.contains("skips 2 lines") && note.contains("the first is line 3, as line 1"), "{note}");
    let source = open("2.png\n3.png\n2.png\n").unwrap();
    assert_eq!((source.len(), source.notes().len()), (2, 1));
    let text = open("a/1.png\tcat\n2.png\tdog\n\na/1.png\tdog\n").unwrap_err();
    assert!(text.contains("line 4 gives a/1.png the class 'dog', but line 1 the class 'cat'"), "{text}");
    assert!(open("2.png\t7\n3.png\t1\n2.png\t8\n").unwrap_err().contains("line 3 gives 2.png"));
}

#[test]
fn tars_have_parts_by_the_rule_of_parquet_files() {
    let shard = |first: u8| {
        tar_of(&[
            ("a.png", png([first; 3])),
            ("a.cls", b"0".to_vec()),
            ("b.png", png([9; 3])),
            ("b.cls", b"1".to_vec()),
        ])
    };
    let root = tree(&[
        ("s/test-000.tar", shard(1)),
        ("s/train-000.tar", shard(2)),
        ("s/train-001.tar", shard(3)),
        ("s/val-000.tar", shard(4)),
    ]);
    for path in [root.path().join("s"), root.path().join("s/*.tar")] {
        let source = Source::open(&path).unwrap();
        let held_out = source.entries().iter().filter(|entry| entry.split == Some(Split::Val)).count();
        assert_eq!((source.len(), held_out), (6, 2), "{}", path.display());
        assert!((0..6).all(|i| source.load(i).unwrap().get_pixel(0, 0).0 != [1; 3]));
        let notes = source.notes().join("; ");
        assert_eq!(notes.matches("skips 1 files next to train and val").count(), 1, "{notes}");
    }
    std::fs::write(root.path().join("s/more.tar"), shard(5)).unwrap();
    assert!(refusal(&root.path().join("s")).contains("more are not"));
    assert_eq!(Source::open(root.path().join("s/{more,test-000}.tar")).unwrap().len(), 4);
}
