//! Samples one image per class with the built-in model: `cargo run --release --example sample -- flags animals-nature`.
//!
//! `Var::open` takes a run folder or a model file in the same way.

use var_model::{Sampling, Var};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let classes: Vec<String> = std::env::args().skip(1).collect();
    if classes.is_empty() {
        return Err("give classes, such as: flags animals-nature".into());
    }
    let var = Var::open("builtin")?;
    let sampling = Sampling { cfg: 4.0, ..Default::default() };
    for (i, image) in var.sample(&classes, &sampling)?.iter().enumerate() {
        image.save(format!("{i}.png"))?;
    }
    Ok(())
}
