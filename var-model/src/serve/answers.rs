//! Answers in JSON; a refusal says what is wrong in words.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use crate::error::Error;

/// A request that is not done, and why.
#[derive(Debug)]
pub(super) struct Refusal {
    pub status: StatusCode,
    pub error: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into() }
    }

    /// A request whose content is wrong.
    pub(super) fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// A request with more than the server takes.
    pub(super) fn too_large(error: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, error)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::bad(error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, as_json(&json!({ "error": self.error }))).into_response()
    }
}

/// `value` as an answer.
pub(super) fn as_json(value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
