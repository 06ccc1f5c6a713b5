//! The Python names that a pickle may mention.

use tch::Kind;

use super::values::Value;

/// Functions that the machine carries out itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// An ordered dictionary, empty or from a list of pairs.
    OrderedDict,
    /// `(function)` → an empty dictionary.
    DefaultDict,
    /// `(storage, offset, shape, strides, …)` → tensor.
    Tensor,
    /// `(storage, offset, shape, strides, …, …, type)` → a tensor of a newer type, which is not read.
    NewerTensor,
    /// `(function, type, arguments, attributes)` → what the function gives.
    WithAttributes,
    /// What this makes is not read.
    Foreign(&'static str),
    /// `(tensor, …)` → the tensor.
    Parameter,
    /// `(list)` → the list.
    Sequence,
    /// Plain data whose contents do not matter here.
    Data,
}

/// Modules whose names below are plain data.
const DATA: [(&str, &[&str]); 14] = [
    ("collections", &["Counter"]),
    ("argparse", &["Namespace"]),
    ("types", &["SimpleNamespace"]),
    ("pathlib", &["Path", "PurePath", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"]),
    ("datetime", &["datetime", "date", "timedelta"]),
    ("_codecs", &["encode"]),
    ("numpy", &["dtype", "ndarray", "float64", "float32", "int64", "int32", "bool_"]),
    ("numpy.core.multiarray", &["scalar"]),
    ("numpy._core.multiarray", &["scalar"]),
    ("torch", &["device", "strided", "Tensor"]),
    ("torch", &["per_tensor_affine", "per_tensor_symmetric", "per_channel_affine", "per_channel_symmetric"]),
    ("torch.nn.parameter", &["Parameter"]),
    ("torch.serialization", &["_get_layout"]),
    (
        "builtins",
        &[
            "int",
            "float",
            "str",
            "bool",
            "bytes",
            "bytearray",
            "complex",
            "dict",
            "slice",
            "range",
            "xrange",
            "Ellipsis",
        ],
    ),
];

/// Types of values.
const TYPES: [&str; 22] = [
    "float32",
    "float64",
    "float16",
    "bfloat16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "bool",
    "uint16",
    "uint32",
    "uint64",
    "complex32",
    "complex64",
    "complex128",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
    "float4_e2m1fn_x2",
];

/// What `module.name` stands for; `None` when it may not be mentioned.
pub(crate) fn lookup(module: &str, name: &str) -> Option<Value> {
    // Python 2 called its built-in names otherwise.
    let module = if module == "__builtin__" { "builtins" } else { module };
    if let ("torch", Some(kind)) = (module, storage(name)) {
        return Some(Value::StorageType(kind));
    }
    if let ("torch", Some(kind)) = (module, TYPES.iter().find(|kind| **kind == name)) {
        return Some(Value::Type(kind));
    }
    Some(Value::Global(match (module, name) {
        ("torch.storage", "UntypedStorage") => return Some(Value::StorageType(Kind::Uint8)),
        ("collections", "OrderedDict") => Known::OrderedDict,
        ("collections", "defaultdict") => Known::DefaultDict,
        ("torch._utils", "_rebuild_tensor_v3") => Known::NewerTensor,
        ("torch._tensor", "_rebuild_from_type_v2") => Known::WithAttributes,
        ("torch._utils", "_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor") => {
            Known::Foreign("a sparse tensor")
        }
        ("torch._utils", "_rebuild_qtensor") => Known::Foreign("a quantized tensor"),
        ("torch._utils", "_rebuild_nested_tensor") => Known::Foreign("a nested tensor"),
        ("torch._utils", "_rebuild_meta_tensor_no_storage") => {
            Known::Foreign("a tensor without values (device meta)")
        }
        ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct")
        | ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => Known::Foreign("a numpy array"),
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
        "ComplexFloat" => Kind::ComplexFloat,
        "ComplexDouble" => Kind::ComplexDouble,
        "QInt8" => Kind::QInt8,
        "QUInt8" => Kind::QUInt8,
        "QInt32" => Kind::QInt32,
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
