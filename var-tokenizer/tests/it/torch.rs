//! libtorch room: optimizer, guard, kernels against plain operations.
#![allow(missing_docs, clippy::unwrap_used)]

mod cuda;
mod finite;
mod kernels;
mod pool;
mod recompute;

use std::process::Command;

use tch::{Device, Kind, Tensor};
use var_tokenizer::torch::optimizer::{AdamW, Slot, adamw_step, clear_gradients, clip_grad_norm};
use var_tokenizer::torch::start;

fn parameter(values: &[f32]) -> Tensor {
    Tensor::from_slice(values).set_requires_grad(true)
}

#[test]
fn the_fused_step_is_adamw() {
    start();
    let settings = AdamW { lr: 0.1, weight_decay: 0.5, ..AdamW::default() };
    let p = parameter(&[1.0, -2.0, 3.0]);
    let mut slots = [Slot::new(&p)];
    let (mut x, mut m, mut v) = ([1.0f64, -2.0, 3.0], [0.0f64; 3], [0.0f64; 3]);
    for step in 1..=3 {
        clear_gradients(&[&p]).unwrap();
        (&p * &p * 0.5).sum(Kind::Float).backward();
        adamw_step(&mut slots, &settings).unwrap();
        for i in 0..3 {
            let g = x[i];
            m[i] = 0.9 * m[i] + 0.1 * g;
            v[i] = 0.95 * v[i] + 0.05 * g * g;
            let (mh, vh) = (m[i] / (1.0 - 0.9f64.powi(step)), v[i] / (1.0 - 0.95f64.powi(step)));
            x[i] = x[i] * (1.0 - 0.1 * 0.5) - 0.1 * mh / (vh.sqrt() + 1e-8);
        }
    }
    let got: Vec<f32> = Vec::try_from(p.detach()).unwrap();
    for (a, b) in got.iter().zip(x) {
        assert!((f64::from(*a) - b).abs() < 1e-6, "{got:?} {x:?}");
    }
}

#[test]
fn clipping_scales_to_the_largest_norm_and_returns_the_old_one() {
    start();
    let (a, b) = (parameter(&[3.0, 0.0]), parameter(&[4.0]));
    (&a * &a * 0.5).sum(Kind::Float).backward();
    (&b * &b * 0.5).sum(Kind::Float).backward();
    let norm = clip_grad_norm(&[&a, &b], 2.0).unwrap();
    assert!((norm - 5.0).abs() < 1e-6, "{norm}");
    let after = clip_grad_norm(&[&a, &b], 100.0).unwrap();
    assert!((after - 2.0).abs() < 1e-5, "{after}");
    assert!(clip_grad_norm(&[&a], f64::NAN).is_err());
}

#[test]
fn clipping_returns_a_norm_that_is_not_finite_and_scales_nothing() {
    start();
    for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        let (a, b) = (parameter(&[3.0, bad]), parameter(&[4.0]));
        (&a * &a * 0.5).sum(Kind::Float).backward();
        (&b * &b * 0.5).sum(Kind::Float).backward();
        let norm = clip_grad_norm(&[&a, &b], 2.0).unwrap();
        assert!(!norm.is_finite(), "{bad}: {norm}");
        assert_eq!((a.grad().double_value(&[0]), b.grad().double_value(&[0])), (3.0, 4.0), "{bad}");
    }
}

#[test]
fn a_step_on_shapes_that_do_not_fit_is_an_error() {
    start();
    let p = parameter(&[1.0, 2.0]);
    (&p * &p).sum(Kind::Float).backward();
    let mut slots = [Slot::new(&p)];
    slots[0].first = Tensor::zeros([3, 3], (Kind::Float, Device::Cpu));
    slots[0].second = Tensor::zeros([1], (Kind::Float, Device::Cpu));
    assert!(adamw_step(&mut slots, &AdamW::default()).is_err());
}

#[test]
fn every_kernel_test_passes_on_every_instruction_set() {
    let tests = |set: &str, list: &[&str]| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        let output = child.arg("torch::kernels::").args(list).env("VAR_KERNELS", set).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{set}: {text}");
        text
    };
    // A filter that matches nothing passes, too.
    let all = tests("none", &["--list"]).lines().filter(|line| line.ends_with(": test")).count();
    assert!(all > 5, "only {all} tests of kernels");
    for set in ["avx2", "baseline", "none"] {
        let text = tests(set, &[]);
        assert!(text.contains(&format!("ok. {all} passed; 0 failed")), "{set}: {text}");
    }
}

/// Runs the ignored test below in a process of its own, with `VAR_BF16_TEST` set to `value`.
fn guarded_child(value: Option<&str>) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "--nocapture", "torch::prints_what_the_guard_decided"]);
    child.env_remove("ONEDNN_MAX_CPU_ISA").env_remove("MKL_ENABLE_INSTRUCTIONS").env_remove("VAR_BF16_TEST");
    if let Some(value) = value {
        child.env("VAR_BF16_TEST", value);
    }
    let output = child.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "child of the guard tests"]
fn prints_what_the_guard_decided() {
    start();
    let a = Tensor::ones([256, 256], (Kind::BFloat16, Device::Cpu));
    let sum = a.matmul(&a).sum(Kind::Float).double_value(&[]);
    println!("sum {sum} isa {:?}", std::env::var("ONEDNN_MAX_CPU_ISA").ok());
}

#[test]
fn a_bf16_product_works_in_a_child_and_leaves_the_instruction_set_alone() {
    let text = guarded_child(Some("1"));
    assert!(text.contains("sum 16777216 isa None"), "{text}");
}

#[test]
fn a_child_that_dies_of_an_illegal_instruction_switches_amx_off() {
    let text = guarded_child(Some("fail"));
    assert!(text.contains("sum 16777216 isa Some(\"AVX512_CORE_BF16\")"), "{text}");
}
