//! The page: one file each of HTML, script and style, and two photos to try. All are part of the program.

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::answers::Refusal;
use super::handlers::nothing;

const INDEX: &str = include_str!("page/index.html");
const SCRIPT: &str = include_str!("page/studio.js");
const STYLE: &str = include_str!("page/studio.css");
/// Emoji that are not among the training images of the built-in model.
const DOG: &[u8] = include_bytes!("../../../var-tokenizer/assets/emoji/dog.png");
const GRINNING: &[u8] = include_bytes!("../../../var-tokenizer/assets/emoji/grinning.png");

pub(super) async fn index() -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], INDEX).into_response()
}

pub(super) async fn script() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT).into_response()
}

pub(super) async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE).into_response()
}

/// A photo to try.
pub(super) async fn example(Path(name): Path<String>) -> Result<Response, Refusal> {
    let bytes = match name.as_str() {
        "dog.png" => DOG,
        "grinning.png" => GRINNING,
        _ => return Err(nothing().await),
    };
    Ok(([(header::CONTENT_TYPE, "image/png")], bytes).into_response())
}
