//! Samples one image per class: `cargo run --release --example sample -- RUN_OR_MODEL TOKENIZER CLASS…`.

use var_model::{Sampling, Var};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, tokenizer, classes @ ..] = arguments.as_slice() else {
        return Err("give a model, a tokenizer, and classes".into());
    };
    let var = Var::open(model)?.with_tokenizer(tokenizer)?;
    let sampling = Sampling { cfg: 4.0, ..Default::default() };
    for (i, image) in var.sample(classes, &sampling)?.iter().enumerate() {
        image.save(format!("{i}.png"))?;
    }
    Ok(())
}
