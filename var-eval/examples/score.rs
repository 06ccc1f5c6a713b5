//! Scores samples against a reference: `cargo run --release --example score -- SAMPLES REFERENCE [NETWORK]`.

use var_eval::features::registry::NetworkChoice;
use var_eval::{Metric, Quantity, Reference, Score};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (samples, reference, network) = match arguments.as_slice() {
        [samples, reference] => (samples, reference, "efficientnet-lite0"),
        [samples, reference, network] => (samples, reference, network.as_str()),
        _ => return Err("give samples, a reference, and perhaps a network".into()),
    };
    let reference = Reference::open(reference)?;
    let report = Score::of(samples, &reference)
        .with_metrics([Metric::Fd, Metric::PrecisionRecall])
        .with_network(NetworkChoice::named(network)?)
        .run()?;
    for quantity in [Quantity::Fd, Quantity::Precision, Quantity::Recall] {
        println!("{quantity:?} {:?}", report.value(quantity));
    }
    println!("\n{}", report.markdown());
    Ok(())
}
