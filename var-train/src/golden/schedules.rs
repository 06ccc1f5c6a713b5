//! Golden case `sched`: learning rates, weight decays, progressive training, parameter groups.

use serde_json::Value;
use tch::Device;
use var_model::transformer::Initialisation;
use var_model::{Transformer, TransformerConfig};
use var_tokenizer::golden::Case;

use crate::error::Result;
use crate::optimizer::Optimizer;
use crate::schedule::{Progression, Schedule, Shape};

/// Relative tolerance of schedules.
const SCHEDULES: f64 = 1e-12;

/// Checks the case `sched`.
///
/// # Errors
/// When an entry of the manifest cannot be read.
pub(super) fn check(case: &mut Case) -> Result<()> {
    check_rates(case)?;
    check_progression(case);
    check_groups(case)
}

fn rows(case: &Case, key: &str) -> Vec<Vec<Value>> {
    let list = case.manifest.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    list.iter().filter_map(|row| row.as_array().cloned()).collect()
}

fn number(row: &[Value], i: usize) -> f64 {
    row.get(i).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

fn check_rates(case: &mut Case) -> Result<()> {
    let (mut rate, mut decay) = (0.0_f64, 0.0_f64);
    let table = rows(case, "lr_wd");
    for row in &table {
        let kind: Shape = row.first().and_then(Value::as_str).unwrap_or("").parse()?;
        let schedule = Schedule {
            shape: kind,
            peak: number(row, 1),
            decay: number(row, 2),
            decay_end: number(row, 3),
            warmup: number(row, 4),
            steps: number(row, 5) as u64,
            start: number(row, 6),
            end: number(row, 7),
        };
        let step = number(row, 8) as u64;
        let off = |found: f64, expected: f64| {
            let d = (found - expected).abs() / expected.abs().max(1e-12);
            if d.is_nan() { f64::INFINITY } else { d }
        };
        rate = rate.max(off(schedule.learning_rate(step), number(row, 9)));
        decay = decay.max(off(schedule.weight_decay(step), number(row, 10)));
    }
    if table.is_empty() {
        case.fail("learning rate", "the manifest has no rows under 'lr_wd'");
        return Ok(());
    }
    let note = Some(format!("{} rows", table.len()));
    case.record("learning rate", Some(rate), SCHEDULES, note.clone());
    case.record("weight decay", Some(decay), SCHEDULES, note);
    Ok(())
}

fn check_progression(case: &mut Case) {
    let table = rows(case, "progressive");
    if table.is_empty() {
        return case.fail("progressive scale", "the manifest has no rows under 'progressive'");
    }
    let wrong = table
        .iter()
        .filter(|row| {
            let progression = Progression {
                share: number(row, 0),
                first: number(row, 1) as usize,
                warmup: number(row, 2),
                steps: number(row, 3) as u64,
                scales: number(row, 4) as usize,
            };
            progression.scale_index(number(row, 5) as u64) as f64 != number(row, 6)
        })
        .count();
    case.record(
        "progressive scale",
        Some(wrong as f64),
        0.0,
        Some(format!("of {} rows differ", table.len())),
    );
}

fn check_groups(case: &mut Case) -> Result<()> {
    let groups =
        case.manifest.get("parameter_groups").and_then(Value::as_object).cloned().unwrap_or_default();
    if groups.is_empty() {
        case.fail("parameter groups", "the manifest has no 'parameter_groups'");
    }
    for (name, expected) in &groups {
        // The names give the architecture: depth, and whether AdaLN is shared.
        let text = expected.to_string();
        let depth = (0..).take_while(|i| text.contains(&format!("blocks.{i}."))).count();
        let config = TransformerConfig {
            depth,
            width: 8,
            heads: 2,
            classes: 2,
            vocabulary: 4,
            latent_channels: 2,
            schedule: var_tokenizer::ScaleSchedule::new(vec![1, 2])?,
            order: var_model::Order::NextScale,
            adaln: true,
            shared_adaln: text.contains("shared_ada_lin"),
            qk_norm: text.contains("scale_mul"),
            ..TransformerConfig::published(depth)
        };
        let model = Transformer::new(&config, &Initialisation::default(), Device::Cpu, None)?;
        let optimizer = Optimizer::new(model.parameters(), 0.9, 0.95, 1e-8, 2.0);
        let mut wrong = 0;
        for group in expected.as_array().into_iter().flatten() {
            let decayed = group.get("wd_scale").and_then(Value::as_f64) == Some(1.0);
            let names: Vec<&str> = group
                .get("names")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let ours: Vec<&str> = optimizer.group(decayed).iter().map(String::as_str).collect();
            wrong += usize::from(names != ours);
        }
        case.record(&format!("parameter groups of {name}"), Some(wrong as f64), 0.0, None);
    }
    Ok(())
}
