//! The example for users of the library.

use std::path::PathBuf;
use std::process::Command;

use crate::fake::Fake;

/// An example that cargo built next to this test.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples").join(name)
}

#[test]
fn the_example_fits_a_sweep_and_its_table_alike_and_plots_the_law() {
    let fake = Fake::new();
    fake.sweep(&[]).assert().success();
    let columns = [
        "name",
        "depth",
        "width",
        "params",
        "flops",
        "val_loss_all",
        "val_loss_last",
        "val_err_all",
        "val_err_last",
    ];
    let mut table = csv::Writer::from_path(fake.path("table.csv")).unwrap();
    table.write_record(columns).unwrap();
    for result in fake.results() {
        let cells = columns.map(|c| result[c].as_str().map_or_else(|| result[c].to_string(), str::to_owned));
        table.write_record(cells).unwrap();
    }
    table.flush().unwrap();
    let run = |from: PathBuf, plot: &str| {
        let output = Command::new(example("fit")).arg(from).arg(fake.path(plot)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let words = run(fake.out(), "law.svg");
    assert!(words.contains("exponent −0.300") && words.contains("α = -0.300"), "{words}");
    assert_eq!(run(fake.path("table.csv"), "law.png"), words);
    assert!(std::fs::read_to_string(fake.path("law.svg")).unwrap().starts_with("<svg"));
    assert_eq!(image::open(fake.path("law.png")).unwrap().width(), 1160);
}
