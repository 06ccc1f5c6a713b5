//! Fits the held-out loss to the number of parameters, and plots the law:
//! `cargo run --release -p var-scaling --example fit -- SWEEP_OR_TABLE law.svg`.

use var_scaling::{Metric, PowerLaw, Results};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [table, plot] = arguments.as_slice() else {
        return Err("give a sweep folder or a CSV table, and an image to write".into());
    };
    let results = Results::open(table)?;
    let law = PowerLaw::fit(&results.points(Metric::LossAll))?;
    println!("{law}");
    let alpha = law.alpha();
    println!("α = {:.3}, interval {:?} to {:?}", alpha.value, alpha.low, alpha.high);
    println!("loss at 10 billion parameters: {:.3}", law.forecast(10.0));
    law.plot(plot)?;
    Ok(())
}
