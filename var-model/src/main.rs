//! Command line of the transformer.
fn main() {
    let dirs: Vec<std::path::PathBuf> = std::env::args().skip(3).map(Into::into).collect();
    var_tokenizer::golden::print_json(&dirs, |f| var_model::golden::check(f).map_err(|e| match e {
        var_model::Error::Tokenizer(e) => e,
        e => var_tokenizer::Error::Config(e.to_string()),
    }));
}
