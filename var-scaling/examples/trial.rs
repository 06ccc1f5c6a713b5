#![allow(missing_docs, clippy::unwrap_used)]
fn main() {
    let dir = std::path::PathBuf::from(std::env::args().nth(1).unwrap());
    println!("{}", var_scaling::report::analyse(&dir, &Default::default()).unwrap().display());
}
