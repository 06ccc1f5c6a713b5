//! Files of torch.save with tensors of other kinds, and files that look like them.

use std::io::{Cursor, Write};
use std::path::Path;

use tch::Tensor;
use var_tokenizer::weights::Checkpoint;
use var_tokenizer::{Result, torch};
use zip::write::FileOptions;
use zip::{CompressionMethod, ZipWriter};

fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let plain = FileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in entries {
        writer.start_file(*name, plain).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn text(text: &str) -> Vec<u8> {
    [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries: Vec<u8> =
        entries.iter().flat_map(|(key, value)| [text(key), value.clone()].concat()).collect();
    [b"}(".as_slice(), &entries, b"u"].concat()
}

fn numbers(values: &[i64]) -> Vec<u8> {
    let values: String = values.iter().map(|value| format!("I{value}\n")).collect();
    format!("({values}t").into_bytes()
}

/// The arguments of a tensor: a view of storage `0`, which has `numel` values.
fn view(storage: &str, numel: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    [
        b"((".to_vec(),
        text("storage"),
        format!("c{storage}\n").replace(' ', "\n").into_bytes(),
        text("0"),
        text("cpu"),
        format!("I{numel}\ntQK\x00").into_bytes(),
        numbers(shape),
        numbers(strides),
        b"\x89}".to_vec(),
    ]
    .concat()
}

fn call(function: &str, arguments: &[u8]) -> Vec<u8> {
    [format!("c{function}\n").replace(' ', "\n").as_bytes(), arguments, b"tR"].concat()
}

fn floats(shape: &[i64], strides: &[i64]) -> Vec<u8> {
    call("torch._utils _rebuild_tensor_v2", &view("torch FloatStorage", 2, shape, strides))
}

/// Opens a file whose pickle builds `value`; its storage holds 1.5 and 2.5.
fn open(value: &[u8]) -> Result<Checkpoint> {
    torch::start();
    let pickle = [b"\x80\x02", value, b"."].concat();
    let values: Vec<u8> = [1.5_f32, 2.5].iter().flat_map(|value| value.to_le_bytes()).collect();
    let bytes = archive(&[("x/data.pkl", &pickle), ("x/data/0", &values)]);
    Checkpoint::in_memory(bytes, Path::new("x.pth"))
}

fn refusal(bytes: Vec<u8>) -> String {
    Checkpoint::in_memory(bytes, Path::new("x")).unwrap_err().to_string()
}

#[test]
fn tensors_of_other_kinds_are_skipped_by_name() {
    let newer = [view("torch.storage UntypedStorage", 8, &[4], &[1]), b"ctorch\nuint16\n".to_vec()].concat();
    let file = dict(&[
        ("plain", floats(&[2], &[1])),
        ("newer", call("torch._utils _rebuild_tensor_v3", &newer)),
        (
            "complex",
            call("torch._utils _rebuild_tensor_v2", &view("torch ComplexFloatStorage", 1, &[1], &[1])),
        ),
        ("quantized", call("torch._utils _rebuild_qtensor", &view("torch QInt8Storage", 2, &[2], &[1]))),
        ("sparse", call("torch._utils _rebuild_sparse_tensor", b"(K\x00")),
        ("meta", call("torch._utils _rebuild_meta_tensor_no_storage", b"(ctorch\nfloat32\n")),
        ("array", call("numpy._core.multiarray _reconstruct", b"(cnumpy\nndarray\n")),
    ]);
    let checkpoint = open(&file).unwrap();
    let part = &checkpoint.parts[""];
    assert!(part.tensors.keys().eq(["plain"]));
    let skipped: Vec<(&str, &str)> =
        part.skipped.iter().map(|(name, what)| (name.as_str(), what.as_str())).collect();
    assert_eq!(
        skipped,
        [
            ("array", "a numpy array"),
            ("complex", "a complex tensor"),
            ("meta", "a tensor without values (device meta)"),
            ("newer", "a tensor of type uint16"),
            ("quantized", "a quantized tensor"),
            ("sparse", "a sparse tensor"),
        ]
    );
    // One of a network's own tensors is no longer only missing.
    let file = dict(&[("word_embed.weight", call("torch._utils _rebuild_sparse_tensor", b"(K\x00"))]);
    let checkpoint = open(&file).unwrap();
    let dict = checkpoint.part(var_tokenizer::weights::Role::Transformer).unwrap();
    let message = dict.shape::<2>("word_embed.weight").unwrap_err().to_string();
    assert!(message.contains("word_embed.weight is a sparse tensor, which is not read"), "{message}");
}

#[test]
fn an_expanded_tensor_is_read_and_takes_no_memory_before() {
    let file = dict(&[("wide", floats(&[3, 2], &[0, 1])), ("huge", floats(&[1 << 38, 2], &[0, 1]))]);
    let checkpoint = open(&file).unwrap();
    let part = &checkpoint.parts[""];
    let expected = Tensor::from_slice(&[1.5_f32, 2.5, 1.5, 2.5, 1.5, 2.5]).view([3, 2]);
    assert_eq!(part.get("wide").unwrap().tensor().unwrap(), expected);
    assert_eq!(part.get("huge").unwrap().shape(), [1 << 38, 2]);
    // Beyond what expanding can make of two values.
    assert!(open(&dict(&[("beyond", floats(&[3, 2], &[1, 1]))])).is_err());
}

#[test]
fn tensors_with_attributes_and_in_dictionaries_with_defaults_are_read() {
    let inner = view("torch FloatStorage", 2, &[2], &[1]);
    let arguments =
        [b"(ctorch._utils\n_rebuild_tensor_v2\nctorch\nTensor\n", inner.as_slice(), b"t}"].concat();
    let tagged = call("torch._tensor _rebuild_from_type_v2", &arguments);
    let entries = [text("tagged"), tagged].concat();
    let file = [b"ccollections\ndefaultdict\n(NtR(".as_slice(), &entries, b"u"].concat();
    let checkpoint = open(&file).unwrap();
    assert_eq!(
        checkpoint.parts[""].get("tagged").unwrap().tensor().unwrap(),
        Tensor::from_slice(&[1.5_f32, 2.5])
    );
    // A function that would be given itself, without end.
    let again = b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._tensor\n_rebuild_from_type_v2\nN)}tR";
    assert!(open(again).is_err());
}

#[test]
fn files_of_numpy_and_other_archives_say_how_to_convert_them() {
    let array = call("numpy._core.multiarray _reconstruct", b"(cnumpy\nndarray\n");
    let entries = dict(&[("word_embed.weight", array)]);
    let plain = [b"\x80\x02", entries.as_slice(), b"."].concat();
    let cases: [(Vec<u8>, &[&str]); 4] = [
        (plain, &["plain pickle", "torch.from_numpy"]),
        (archive(&[("word_embed.weight.npy", b"")]), &["numpy arrays (.npz)", "torch.from_numpy"]),
        (archive(&[("a/var.pth", b"")]), &["zip archive", "a/var.pth", "unpack it"]),
        ([archive(&[("x/data.pkl", b"}.")]), vec![b'\n']].concat(), &["1 bytes behind its end"]),
    ];
    for (bytes, parts) in cases {
        let message = refusal(bytes);
        assert!(parts.iter().all(|part| message.contains(part)), "{parts:?} not in {message}");
    }
}
