//! Recomputed stretches: the gradients of the plain call, less memory, errors as errors.

use tch::{Device, Kind, Tensor};
use var_tokenizer::Error;
use var_tokenizer::torch::{Allocations, recomputed, start};
use var_tokenizer::weights::portable;

/// A leaf with portable values.
fn leaf(name: &str, shape: &[i64]) -> Tensor {
    portable::normal(name, 3, shape).set_requires_grad(true)
}

/// Three layers with a residual connection; `x` is used twice, as the blocks of a transformer do.
fn layers(x: &Tensor, scale: &Tensor, weight: &Tensor) -> Tensor {
    let mut y = x * scale;
    for _ in 0..3 {
        y = y.matmul(weight).tanh() + x;
    }
    y
}

#[test]
fn gradients_of_inputs_and_captured_parameters_are_those_of_the_plain_call() {
    start();
    let run = |again: bool| {
        let (x, scale, weight) = (leaf("x", &[6, 8]), leaf("scale", &[1, 8]), leaf("weight", &[8, 8]));
        // Twice without clearing, as when gradients are accumulated; between other operations.
        for round in 1..3 {
            let (before, doubled) = (&x * f64::from(round), &scale * 2.0);
            let y = if again {
                let weight = weight.shallow_clone();
                recomputed(&[before, doubled], move |inputs| {
                    Ok::<_, Error>(layers(&inputs[0], &inputs[1], &weight))
                })
                .unwrap()
            } else {
                layers(&before, &doubled, &weight)
            };
            (y.sin() * &x).sum(Kind::Float).backward();
        }
        [x.grad(), scale.grad(), weight.grad()]
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn an_input_without_gradient_gets_none_and_parameters_still_do() {
    start();
    let run = |again: bool| {
        let (x, weight) = (portable::normal("x", 3, &[6, 8]), leaf("weight", &[8, 8]));
        let scale = Tensor::ones([1, 8], (Kind::Float, Device::Cpu));
        let y = if again {
            let weight = weight.shallow_clone();
            let inputs = [x.shallow_clone(), scale.shallow_clone()];
            recomputed(&inputs, move |inputs| Ok::<_, Error>(layers(&inputs[0], &inputs[1], &weight)))
                .unwrap()
        } else {
            layers(&x, &scale, &weight)
        };
        y.sum(Kind::Float).backward();
        assert!(!x.grad().defined() && !scale.grad().defined());
        weight.grad()
    };
    assert_eq!(run(true), run(false));
    // Nothing at all to train, and no inputs: the value is right and a backward pass does no harm.
    let y = recomputed(&[], |_| Ok::<_, Error>(portable::normal("x", 3, &[4]))).unwrap();
    assert_eq!(y.detach(), portable::normal("x", 3, &[4]));
    y.sum(Kind::Float).backward();
}

#[test]
fn without_gradients_it_is_the_plain_call_once() {
    start();
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = calls.clone();
    let x = leaf("x", &[5]);
    let y = tch::no_grad(|| {
        recomputed(&[x.shallow_clone()], move |inputs| {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok::<_, Error>(&inputs[0] * 2.0)
        })
    })
    .unwrap();
    assert!(!y.requires_grad());
    assert_eq!(calls.load(std::sync::atomic::Ordering::Relaxed), 1);
    // The closure went with the call: nothing keeps it.
    assert_eq!(std::sync::Arc::strong_count(&calls), 1);
}

#[test]
fn what_is_captured_is_let_go_with_the_graph() {
    start();
    let token = std::sync::Arc::new(());
    let held = token.clone();
    let x = leaf("x", &[5]);
    let y = recomputed(&[x.shallow_clone()], move |inputs| {
        let _held = &held;
        Ok::<_, Error>(inputs[0].sin())
    })
    .unwrap();
    assert_eq!(std::sync::Arc::strong_count(&token), 2);
    y.sum(Kind::Float).backward();
    drop(y);
    assert_eq!(std::sync::Arc::strong_count(&token), 1);
}

#[test]
fn errors_exceptions_and_panics_come_back_as_errors_in_both_passes() {
    start();
    let failing = |how: &'static str, call: usize| {
        let calls = std::sync::atomic::AtomicUsize::new(0);
        let x = leaf("x", &[5]);
        recomputed(&[x.shallow_clone()], move |inputs| {
            if calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == call {
                match how {
                    "error" => return Err("no such thing".to_owned()),
                    "exception" => drop(inputs[0].matmul(&Tensor::ones([2, 3], (Kind::Float, Device::Cpu)))),
                    _ => panic!("a mistake"),
                }
            }
            Ok(inputs[0].sin())
        })
    };
    for (how, part) in
        [("error", "no such thing"), ("exception", "cannot be multiplied"), ("panic", "failed: a mistake")]
    {
        let message = failing(how, 0).unwrap_err().to_string();
        assert!(message.contains(part) && !message.contains('\n'), "{message}");
        let later = failing(how, 1).unwrap().sum(Kind::Float).f_backward();
        let message = Error::from(later.unwrap_err()).to_string();
        assert!(message.contains(part) && !message.contains('\n'), "{message}");
    }
}

#[test]
fn a_count_of_allocations_sees_the_most_that_was_held() {
    start();
    let options = (Kind::Float, Device::Cpu);
    let mut count = Allocations::count().unwrap();
    let kept = Tensor::zeros([1000], options);
    drop(Tensor::zeros([10_000], options));
    assert!((44_000..45_000).contains(&count.take_most()));
    drop(Tensor::zeros([2000], options));
    assert!((12_000..13_000).contains(&count.take_most()));
    drop(kept);
    drop(Tensor::zeros([500], options));
    assert!((4000..5000).contains(&count.take_most()));
}
