//! The page with its sections, style and fonts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Material, held_out, law_table, method, provenance, sections};
use crate::error::Result;
use crate::plot::canvas::{FONT_BOLD, FONT_REGULAR};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The whole page.
pub(crate) fn page(material: &Material) -> Result<String> {
    let mut body = String::new();
    for section in [
        sections::head(material),
        sections::sizes(material),
        sections::plots(material, &["loss-parameters-all", "loss-compute-all"]),
        law_table::laws(material),
        law_table::joint(material),
        held_out::section(material),
        sections::more_plots(material),
        sections::scores(material),
        sections::images(material)?,
        method::section(material),
        provenance::section(material),
        sections::limits(material),
    ] {
        body.push_str(&section);
    }
    Ok(document("Scaling of visual autoregressive models", &body))
}

/// A page that needs no other file: style, fonts and `body`.
pub(crate) fn document(title: &str, body: &str) -> String {
    let face = |weight: u32, bytes: &[u8]| {
        format!(
            "@font-face {{ font-family: \"Report\"; font-weight: {weight}; \
             src: url(data:font/ttf;base64,{}) format(\"truetype\"); }}\n",
            STANDARD.encode(bytes)
        )
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{}{}{STYLE}</style>\n</head>\n\
         <body>\n<main>\n{body}</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        face(400, FONT_REGULAR),
        face(600, FONT_BOLD),
    )
}
