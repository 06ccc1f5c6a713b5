//! Checks each request before anything else, and sets the headers that keep the page closed.
//!
//! A web page of somebody else can make the browser send requests here. It cannot choose two headers: `Host`, which is
//! its own name even if this name leads here (DNS rebinding), and `Origin`, which is on every `POST`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::answers::Refusal;
use super::door::Door;

/// What the page may load and do: its own script and style, its own images and those that it makes, requests to its own
/// server.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
                              connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Headers of every answer.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Lets `request` in or refuses it.
pub(super) async fn check(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let mut answer = match judge(&door, &request) {
        Verdict::In => next.run(request).await,
        Verdict::Refused(refusal) => refusal.into_response(),
        Verdict::Welcome(cookie) => {
            (StatusCode::SEE_OTHER, [(header::SET_COOKIE, cookie), (header::LOCATION, "/".to_owned())])
                .into_response()
        }
    };
    for (name, value) in HEADERS {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// What becomes of a request.
enum Verdict {
    In,
    Refused(Refusal),
    /// The address with the right token was opened; this cookie keeps it.
    Welcome(String),
}

fn judge(door: &Door, request: &Request) -> Verdict {
    let (headers, method) = (request.headers(), request.method());
    let refused = |status, error: &str| Verdict::Refused(Refusal::new(status, error));
    if !only(headers, &header::HOST).is_some_and(|host| door.knows_host(host)) {
        let why = "the header Host does not name this server; open the address that the program printed";
        return refused(StatusCode::FORBIDDEN, why);
    }
    let reads = method == Method::GET || method == Method::HEAD;
    let origin = only(headers, &header::ORIGIN);
    let sent = headers.contains_key(header::ORIGIN);
    if (sent || !reads) && !origin.is_some_and(|origin| door.knows_origin(origin)) {
        let why = "the request does not come from the page of this server (header Origin)";
        return refused(StatusCode::FORBIDDEN, why);
    }
    if !door.needs_token() {
        return Verdict::In;
    }
    let query = request.uri().query().unwrap_or_default();
    let in_address = query.split('&').find_map(|pair| pair.strip_prefix("token="));
    if reads && in_address.is_some_and(|token| door.opens(token)) {
        let (name, token) = (door.cookie(), in_address.unwrap_or_default());
        return Verdict::Welcome(format!("{name}={token}; Path=/; HttpOnly; SameSite=Strict"));
    }
    if in_headers(door, headers).any(|token| door.opens(token)) {
        return Verdict::In;
    }
    let why = "the token is missing or wrong; open the address that the program printed, with its token";
    refused(StatusCode::UNAUTHORIZED, why)
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

/// The tokens in cookies and in `Authorization`.
fn in_headers<'a>(door: &Door, headers: &'a HeaderMap) -> impl Iterator<Item = &'a str> {
    let name = door.cookie();
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let cookies = cookies.flat_map(|text| text.split(';')).filter_map(move |pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then_some(value)
    });
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    cookies.chain(bearer.and_then(|text| text.strip_prefix("Bearer ")))
}
