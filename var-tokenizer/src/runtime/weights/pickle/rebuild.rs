//! What the functions in a pickle put together: dictionaries, storages, tensors.

use tch::Kind;

use super::globals::Known;
use super::machine::{Step, damaged};
use super::values::{Arena, Id, Storage, Value, View};

/// What a call gives.
pub(super) enum Built {
    /// A value that was not there before.
    New(Value),
    /// One of the arguments.
    Present(Id),
}

/// The outcome of calling `function` with the list `arguments`.
pub(super) fn call(arena: &Arena, function: Id, arguments: Id) -> Step<Built> {
    let Value::Global(known) = arena.get(function) else { return Err(damaged("a call")) };
    let arguments = arena.list(arguments).ok_or_else(|| damaged("a call"))?;
    let first = arguments.first().copied();
    Ok(match known {
        Known::Data => Built::New(Value::Other),
        Known::Parameter | Known::Sequence => {
            first.map_or_else(|| Built::New(Value::List(Vec::new())), Built::Present)
        }
        Known::OrderedDict => {
            let given = first.and_then(|id| arena.list(id)).unwrap_or_default();
            let pair = |&id: &Id| match arena.list(id) {
                Some(&[key, value]) => Ok((key, value)),
                _ => Err(damaged("a dictionary")),
            };
            Built::New(Value::Dict(given.iter().map(pair).collect::<Step<_>>()?))
        }
        Known::DefaultDict => Built::New(Value::Dict(Vec::new())),
        Known::Tensor => {
            let view = view(arena, arguments)?;
            Built::New(match foreign(view.storage.kind) {
                Some(what) => Value::Foreign(what.into()),
                None => Value::Tensor(view),
            })
        }
        Known::NewerTensor => {
            let kind = match arguments.get(6).map(|&id| arena.get(id)) {
                Some(Value::Type(kind)) => kind,
                _ => return Err(damaged("a tensor")),
            };
            Built::New(Value::Foreign(format!("a tensor of type {kind}")))
        }
        Known::Foreign(what) => Built::New(Value::Foreign((*what).into())),
        Known::WithAttributes => match arguments {
            // The function must be another one: arguments may lead back to themselves.
            &[function, _, arguments, ..] if *arena.get(function) != Value::Global(Known::WithAttributes) => {
                call(arena, function, arguments)?
            }
            _ => return Err(damaged("a tensor")),
        },
    })
}

/// What a tensor of this kind is, if it is one that is not read.
fn foreign(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::ComplexFloat | Kind::ComplexDouble => Some("a complex tensor"),
        Kind::QInt8 | Kind::QUInt8 | Kind::QInt32 => Some("a quantized tensor"),
        _ => None,
    }
}

/// `(storage, offset, shape, strides, …)`.
fn view(arena: &Arena, arguments: &[Id]) -> Step<View> {
    let wrong = || damaged("a tensor");
    let &[storage, offset, shape, strides, ..] = arguments else { return Err(wrong()) };
    let Value::Storage(storage) = arena.get(storage) else { return Err(wrong()) };
    let parts = (arena.int(offset), arena.ints(shape), arena.ints(strides));
    let (Some(offset), Some(shape), Some(strides)) = parts else { return Err(wrong()) };
    View::new(storage.clone(), offset, shape, strides)
}

/// `("storage", type, key, location, count[, view of another])`.
pub(super) fn storage(arena: &Arena, id: Id) -> Step<Storage> {
    let wrong = || damaged("a storage");
    let parts = arena.list(id).ok_or_else(wrong)?;
    let &[tag, kind, key, _, count, ref rest @ ..] = parts else { return Err(wrong()) };
    if arena.text(tag) != Some("storage") {
        return Err(wrong());
    }
    if rest.first().is_some_and(|&view| *arena.get(view) != Value::None) {
        return Err(
            "has storages that are views of others, as PyTorch wrote them before 0.4: load it there and \
                    save it again"
                .into(),
        );
    }
    let Value::StorageType(kind) = arena.get(kind) else { return Err(wrong()) };
    let key = match arena.get(key) {
        Value::Text(key) => key.clone(),
        Value::Int(key) => key.to_string(),
        _ => return Err(wrong()),
    };
    let numel = arena.int(count).and_then(|count| u64::try_from(count).ok()).ok_or_else(wrong)?;
    if numel > u64::MAX / 64 {
        return Err(wrong());
    }
    Ok(Storage { key, kind: *kind, numel })
}
