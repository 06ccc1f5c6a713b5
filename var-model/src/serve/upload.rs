//! Reads the bodies of requests, and the images in them, within limits.

use std::future::poll_fn;
use std::io::Cursor;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_core::Stream;
use image::{ImageReader, RgbImage};
use serde::de::DeserializeOwned;
use var_tokenizer::images::decode::decode;
use var_tokenizer::nearest::explain_wrong_value;

use super::answers::Refusal;
use super::limits::MOST_PHOTO_BYTES;

/// Bytes that are read and thrown away before the connection of a larger request is closed: most senders read the
/// answer only after they have sent everything.
const MOST_IGNORED: usize = 256 << 20;
/// Maximum time to send a request.
const PATIENCE: Duration = Duration::from_secs(60);

/// The body of `request`, which holds at most `most` bytes.
pub(super) async fn body(request: Request, most: usize) -> Result<Vec<u8>, Refusal> {
    match tokio::time::timeout(PATIENCE, whole(request.into_body(), most)).await {
        Ok(body) => body,
        Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "the request came too slowly")),
    }
}

async fn whole(body: Body, most: usize) -> Result<Vec<u8>, Refusal> {
    let mut stream = body.into_data_stream();
    let (mut bytes, mut length) = (Vec::new(), 0_usize);
    while let Some(part) = poll_fn(|cx| Pin::new(&mut stream).poll_next(cx)).await {
        let part = part.map_err(|_| Refusal::bad("the request broke off"))?;
        length = length.saturating_add(part.len());
        if length <= most {
            bytes.extend_from_slice(&part);
        } else {
            bytes = Vec::new();
        }
        if length > MOST_IGNORED {
            break;
        }
    }
    if length > most {
        return Err(Refusal::too_large(format!(
            "the request is too large: at most {} are taken",
            in_words(most)
        )));
    }
    Ok(bytes)
}

fn in_words(bytes: usize) -> String {
    if bytes >= 1 << 20 { format!("{} MB", bytes >> 20) } else { format!("{} kB", bytes >> 10) }
}

/// The JSON body of `request` as a `T`.
pub(super) async fn json<T: DeserializeOwned>(request: Request, most: usize) -> Result<T, Refusal> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|text| text.split(';').next()).map(str::trim);
    if kind != Some("application/json") {
        let why = "the request must be JSON (Content-Type: application/json)";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    let bytes = body(request, most).await?;
    serde_json::from_slice(&bytes).map_err(|e| {
        let why = explain_wrong_value(&e.to_string());
        Refusal::bad(format!("the request cannot be read: {why}"))
    })
}

/// The image in a file's `bytes`; `what` names it. Refuses more than `most_pixels` before it decodes.
pub(super) fn image(bytes: &[u8], what: &str, most_pixels: u64) -> Result<RgbImage, Refusal> {
    if bytes.len() > MOST_PHOTO_BYTES {
        let most = in_words(MOST_PHOTO_BYTES);
        return Err(Refusal::too_large(format!("{what}: the file is larger than {most}")));
    }
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    if let Some((width, height)) = reader.ok().and_then(|reader| reader.into_dimensions().ok())
        && u64::from(width) * u64::from(height) > most_pixels
    {
        return Err(Refusal::too_large(format!(
            "{what} has {width} × {height} pixels; at most {most_pixels} pixels are taken. Make it smaller"
        )));
    }
    decode(bytes).map_err(|reason| Refusal::bad(format!("{what} cannot be read: {reason}")))
}

/// The image in a file in base64.
pub(super) fn image_in_base64(text: &str, what: &str, most_pixels: u64) -> Result<RgbImage, Refusal> {
    let bytes = STANDARD
        .decode(text)
        .map_err(|_| Refusal::bad(format!("{what} cannot be read: it is not base64")))?;
    image(&bytes, what, most_pixels)
}
