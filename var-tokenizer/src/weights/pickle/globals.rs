//! The Python names that a pickle may mention.

use tch::Kind;

use super::values::Value;

/// Functions that the machine carries out itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// An ordered dictionary, empty or from a list of pairs.
    OrderedDict,
    /// `(storage, offset, shape, strides, …)` → tensor.
    Tensor,
    /// `(tensor, …)` → the tensor.
    Parameter,
    /// `(list)` → the list.
    Sequence,
    /// Plain data whose contents do not matter here.
    Data,
}

/// Modules whose names below are plain data.
const DATA: [(&str, &[&str]); 12] = [
    ("collections", &["defaultdict", "Counter"]),
    ("argparse", &["Namespace"]),
    ("types", &["SimpleNamespace"]),
    ("pathlib", &["Path", "PurePath", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"]),
    ("datetime", &["datetime", "date", "timedelta"]),
    ("_codecs", &["encode"]),
    ("numpy", &["dtype", "ndarray", "float64", "float32", "int64", "int32", "bool_"]),
    ("numpy.core.multiarray", &["scalar", "_reconstruct"]),
    ("numpy._core.multiarray", &["scalar", "_reconstruct"]),
    ("torch", &["device", "strided"]),
    (
        "torch",
        &["float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"],
    ),
    ("builtins", &["int", "float", "str", "bool", "bytes", "bytearray", "complex", "dict", "slice", "range"]),
];

/// What `module.name` stands for; `None` when it may not be mentioned.
pub(crate) fn lookup(module: &str, name: &str) -> Option<Value> {
    // Python 2 called its built-in names otherwise.
    let module = if module == "__builtin__" { "builtins" } else { module };
    if let ("torch", Some(kind)) = (module, storage(name)) {
        return Some(Value::StorageType(kind));
    }
    Some(Value::Global(match (module, name) {
        ("collections", "OrderedDict") => Known::OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Known::Tensor,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Known::Parameter,
        ("torch", "Size") | ("builtins", "list" | "tuple" | "set" | "frozenset") => Known::Sequence,
        _ if DATA.iter().any(|(m, names)| *m == module && names.contains(&name)) => Known::Data,
        _ => return None,
    }))
}

/// `torch.FloatStorage` and its like.
fn storage(name: &str) -> Option<Kind> {
    Some(match name.strip_suffix("Storage")? {
        "Float" => Kind::Float,
        "Double" => Kind::Double,
        "Half" => Kind::Half,
        "BFloat16" => Kind::BFloat16,
        "Long" => Kind::Int64,
        "Int" => Kind::Int,
        "Short" => Kind::Int16,
        "Char" => Kind::Int8,
        "Byte" => Kind::Uint8,
        "Bool" => Kind::Bool,
        _ => return None,
    })
}

/// The name of the storage type that holds `kind`; `None` for kinds that are not written.
pub(crate) fn storage_name(kind: Kind) -> Option<&'static str> {
    let names = [
        "FloatStorage",
        "DoubleStorage",
        "HalfStorage",
        "BFloat16Storage",
        "LongStorage",
        "IntStorage",
        "ShortStorage",
        "CharStorage",
        "ByteStorage",
        "BoolStorage",
    ];
    names.into_iter().find(|name| storage(name) == Some(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tensors_need_is_known_and_what_runs_code_is_not() {
        assert_eq!(lookup("torch", "HalfStorage"), Some(Value::StorageType(Kind::Half)));
        assert_eq!(lookup("torch", "device"), Some(Value::Global(Known::Data)));
        assert_eq!(lookup("__builtin__", "set"), Some(Value::Global(Known::Sequence)));
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("builtins", "eval"),
            ("builtins", "getattr"),
            ("torch", "load"),
            ("torch._utils", "_rebuild_device_tensor_from_numpy"),
            ("models.var", "VAR"),
            ("numpy", "load"),
            ("", ""),
        ] {
            assert_eq!(lookup(module, name), None, "{module}.{name}");
        }
    }
}
