//! The example for users of the library.

use std::path::PathBuf;
use std::process::Command;

use crate::fake::{COLUMNS, Fake};

/// An example that cargo built next to this test.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples").join(name)
}

#[test]
fn the_example_fits_a_sweep_and_its_table_alike_and_plots_the_law() {
    let fake = Fake::new();
    fake.sweep(&[]).assert().success();
    let table = fake.table(&COLUMNS);
    let run = |from: PathBuf, plot: &str| {
        let output = Command::new(example("fit")).arg(from).arg(fake.path(plot)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let words = run(fake.out(), "law.svg");
    assert!(words.contains("exponent −0.300") && words.contains("α = -0.300"), "{words}");
    assert_eq!(run(table, "law.png"), words);
    assert!(std::fs::read_to_string(fake.path("law.svg")).unwrap().starts_with("<svg"));
    assert_eq!(image::open(fake.path("law.png")).unwrap().width(), 1160);
}
