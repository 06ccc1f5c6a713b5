//! Command line of the tokenizer.
fn main() {
    let dirs: Vec<std::path::PathBuf> = std::env::args().skip(3).map(Into::into).collect();
    var_tokenizer::golden::print_json(&dirs, var_tokenizer::golden::check);
}
