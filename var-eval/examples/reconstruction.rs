//! PSNR and SSIM of reconstructions: `cargo run --release --example reconstruction -- RECONSTRUCTIONS ORIGINALS`.

use var_eval::Reconstruction;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [reconstructions, originals] = arguments.as_slice() else {
        return Err("give a folder of reconstructions and a folder of originals".into());
    };
    let report = Reconstruction::of(reconstructions, originals).run()?;
    println!("PSNR {:.2} dB, SSIM {:.4}, {} pairs", report.psnr_db, report.ssim, report.n);
    for warning in &report.warnings {
        println!("{warning}");
    }
    Ok(())
}
