//! Requests to a hub, and its answers.

use std::time::Duration;

use serde_json::Value;
use ureq::http::{HeaderMap, Response, Uri};
use ureq::{Agent, Body};

use super::cache::Content;
use super::environment::Hub;
use super::name::Remote;

/// Redirections that are followed one after the other.
const MOST_REDIRECTIONS: usize = 8;
/// How long to wait for a connection, and for the next bytes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may go better soon: the server is busy. Says so, and how long to wait.
    Passing(String, Option<Duration>),
    /// There is no way to the server.
    Absent(String),
    /// It will not.
    Final(String),
}

/// An answer, or why there is none.
pub(super) type Answer<T> = Result<T, Failure>;

/// A client that follows redirections itself: the token is for the hub alone.
pub(super) fn agent() -> Agent {
    let config = Agent::config_builder()
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .timeout_per_read(Some(PATIENCE))
        .accept_encoding("identity")
        .user_agent(concat!("var-rs/", env!("CARGO_PKG_VERSION")))
        .build();
    config.into()
}

/// A connection to a hub.
pub(super) struct Client<'a> {
    hub: &'a Hub,
    agent: Agent,
}

impl<'a> Client<'a> {
    pub(super) fn new(hub: &'a Hub) -> Self {
        Self { hub, agent: agent() }
    }

    /// Address of the file.
    pub(super) fn address(&self, remote: &Remote) -> String {
        let Remote { repository, file, revision } = remote;
        format!(
            "{}/{repository}/resolve/{}/{}",
            self.hub.endpoint,
            encoded(revision, false),
            encoded(file, true)
        )
    }

    /// What the hub says of the file, without its content.
    pub(super) fn content(&self, remote: &Remote) -> Answer<Content> {
        let mut address = self.address(remote);
        for _ in 0..MOST_REDIRECTIONS {
            let request = self.agent.head(&address);
            let answer = match self.token_for(&address) {
                Some(token) => request.header("Authorization", format!("Bearer {token}")).call(),
                None => request.call(),
            };
            let answer = answer.map_err(|e| unreachable(&address, &e))?;
            let headers = answer.headers();
            // A repository that was renamed is elsewhere on the same host; content elsewhere is not asked yet.
            match header(headers, "location") {
                Some(place)
                    if answer.status().is_redirection() && header(headers, "x-linked-etag").is_none() =>
                {
                    address = joined(&address, place)?;
                }
                _ if answer.status().is_success() || answer.status().is_redirection() => {
                    return stated(headers).ok_or_else(|| {
                        Failure::Final(format!(
                            "{address}: the answer lacks the headers of a hub; check HF_ENDPOINT"
                        ))
                    });
                }
                _ => return Err(self.refusal(&answer, remote)),
            }
        }
        Err(Failure::Final(format!("{}: too many redirections", self.address(remote))))
    }

    /// The bytes of the file in `commit` from byte `from` on: a branch may move on meanwhile.
    pub(super) fn bytes(&self, remote: &Remote, commit: &str, from: u64) -> Answer<Response<Body>> {
        let remote = &Remote { revision: commit.to_owned(), ..remote.clone() };
        let answer = get(&self.agent, &self.address(remote), from, |address| self.token_for(address))?;
        match answer.status().as_u16() {
            200 | 206 | 416 => Ok(answer),
            _ => Err(self.refusal(&answer, remote)),
        }
    }

    /// The licence that the model card names.
    pub(super) fn licence(&self, remote: &Remote) -> Option<String> {
        let address = format!("{}/api/models/{}", self.hub.endpoint, remote.repository);
        let mut answer = get(&self.agent, &address, 0, |address| self.token_for(address)).ok()?;
        if !answer.status().is_success() {
            return None;
        }
        let about: Value = serde_json::from_str(&answer.body_mut().read_to_string().ok()?).ok()?;
        let card = about.get("cardData")?;
        ["license_name", "license"].into_iter().find_map(|key| Some(card.get(key)?.as_str()?.to_owned()))
    }

    /// The token, if `address` is on the hub.
    fn token_for(&self, address: &str) -> Option<&str> {
        let token = self.hub.token.as_deref()?;
        same_host(address, &self.hub.endpoint).then_some(token)
    }

    /// Why the hub refuses the file, and what to do.
    fn refusal(&self, answer: &Response<Body>, remote: &Remote) -> Failure {
        let (status, headers) = (answer.status().as_u16(), answer.headers());
        let page = format!("{}/{}", self.hub.endpoint, remote.repository);
        let code = header(headers, "x-error-code").unwrap_or_default();
        let has_token = self.hub.token.is_some();
        Failure::Final(match (status, code) {
            (_, "RevisionNotFound") => {
                format!("{page} has no revision '{}'; {page}/tree/main lists them", remote.revision)
            }
            (_, "EntryNotFound") => {
                format!("{page} has no file '{}'; {page}/tree/{} lists them", remote.file, remote.revision)
            }
            (401 | 403, _) if has_token => format!(
                "{page} is not open to your token, or does not exist ({status}): accept its conditions on that page, \
                 or correct HF_TOKEN"
            ),
            (401 | 403, _) => format!(
                "{page} needs a permission, or does not exist ({status}): accept its conditions on that page, then set \
                 HF_TOKEN to your token"
            ),
            (404, _) => format!("{page}: no such repository or file ({remote})"),
            (429 | 500.., _) => {
                let wait = header(headers, "retry-after").and_then(|text| text.parse().ok());
                let words = format!("{page}: the hub is busy or out of order ({status}); try again later");
                return Failure::Passing(words, wait.map(Duration::from_secs));
            }
            _ => format!("{page}: unexpected answer {status}"),
        })
    }
}

/// Gets `address` from byte `from` on, and follows redirections. `token` gives the token for an address.
pub(super) fn get<'t>(
    agent: &Agent,
    address: &str,
    from: u64,
    token: impl Fn(&str) -> Option<&'t str>,
) -> Answer<Response<Body>> {
    let mut at = address.to_owned();
    for _ in 0..MOST_REDIRECTIONS {
        let mut request = agent.get(&at);
        if let Some(token) = token(&at) {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        let answer = request.call().map_err(|e| unreachable(&at, &e))?;
        match header(answer.headers(), "location") {
            Some(place) if answer.status().is_redirection() => at = joined(&at, place)?,
            _ => return Ok(answer),
        }
    }
    Err(Failure::Final(format!("{address}: too many redirections")))
}

/// A header as text.
pub(super) fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Commit, sum and size, if the headers give them in a form that may become names of files.
fn stated(headers: &HeaderMap) -> Option<Content> {
    let commit = header(headers, "x-repo-commit")?;
    let etag = header(headers, "x-linked-etag").or_else(|| header(headers, "etag"))?;
    let etag = etag.trim_start_matches("W/").trim_matches('"');
    let bytes = header(headers, "x-linked-size").or_else(|| header(headers, "content-length"))?;
    let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    (plain(commit) && plain(etag)).then_some(())?;
    Some(Content { commit: commit.into(), etag: etag.into(), bytes: bytes.parse().ok()? })
}

/// The address that `place` is, seen from `address`.
fn joined(address: &str, place: &str) -> Answer<String> {
    let absolute = place.starts_with("http://") || place.starts_with("https://");
    // What began encrypted stays so.
    if address.starts_with("https://") && place.starts_with("http://") {
        return Err(Failure::Final(format!(
            "{address} leads to an address without encryption; not followed"
        )));
    }
    let uri: Option<Uri> = address.parse().ok();
    let host = uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.authority()?)));
    match (absolute, host) {
        (true, _) => Ok(place.to_owned()),
        (false, Some((scheme, authority))) if place.starts_with('/') => {
            Ok(format!("{scheme}://{authority}{place}"))
        }
        _ => Err(Failure::Final(format!("{address} leads to '{place}', which is not an address"))),
    }
}

/// Whether two addresses have the same scheme, host and port.
fn same_host(a: &str, b: &str) -> bool {
    let of = |address: &str| {
        let uri: Uri = address.parse().ok()?;
        Some((uri.scheme_str()?.to_owned(), uri.authority()?.as_str().to_owned()))
    };
    of(a).is_some() && of(a) == of(b)
}

/// No answer at all.
fn unreachable(address: &str, error: &ureq::Error) -> Failure {
    let host = address.parse::<Uri>().ok().and_then(|uri| Some(uri.authority()?.to_string()));
    let host = host.unwrap_or_else(|| address.to_owned());
    let words = match error {
        ureq::Error::HostNotFound => format!("cannot find {host}: no network, or a wrong address"),
        ureq::Error::Timeout(_) => format!("{host} does not answer within {} seconds", PATIENCE.as_secs()),
        ureq::Error::Io(e) => format!("cannot reach {host}: {e}"),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            return Failure::Final(format!("{address} is not an address; check HF_ENDPOINT"));
        }
        other => format!("cannot reach {host}: {other}"),
    };
    Failure::Absent(words)
}

/// `text` for an address: what is not plain becomes `%XX`.
fn encoded(text: &str, keep_slashes: bool) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'/' if keep_slashes => "/".to_owned(),
            _ if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
