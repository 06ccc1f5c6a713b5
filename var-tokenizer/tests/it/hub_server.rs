//! A model hub on loopback, with the faults that real ones have. The other crates' tests include this file by its path.
#![allow(clippy::unwrap_used, dead_code)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use var_tokenizer::files::sha256;

/// The commit at which all revisions are.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What goes wrong.
#[derive(Default, Clone)]
pub struct Faults {
    /// The storage ends each answer after this many bytes.
    pub cut_after: Option<usize>,
    /// The storage knows no ranges.
    pub no_ranges: bool,
    /// The storage sends other bytes than the hub promised.
    pub damaged: bool,
    /// The hub wants this token.
    pub token: Option<String>,
    /// The hub is busy this many times.
    pub busy: usize,
    /// Seconds after which the busy hub wants to be asked again.
    pub retry_after: Option<u64>,
    /// The storage waits this long between pieces of a tenth.
    pub slow: Option<Duration>,
    /// The hub gives a name of the content that would be a path.
    pub etag: Option<String>,
}

/// A request, as the tests look at it.
#[derive(Debug, Clone)]
pub struct Request {
    /// `hub` or `storage`.
    pub place: &'static str,
    pub method: String,
    pub path: String,
    pub range: Option<String>,
    pub token: Option<String>,
}

#[derive(Default)]
struct State {
    files: HashMap<String, Vec<u8>>,
    faults: Faults,
    requests: Vec<Request>,
    licence: Option<String>,
}

/// A hub, and the storage that it sends its callers to, which has another address.
pub struct Server {
    state: Arc<Mutex<State>>,
    hub: String,
    storage: String,
}

impl Server {
    /// Starts it; the files are `OWNER/REPO/FILE` and their content.
    pub fn start(files: &[(&str, &[u8])]) -> Self {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [hub, storage] = [0, 1].map(|i: usize| format!("http://{}", listeners[i].local_addr().unwrap()));
        let state = State {
            files: files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect(),
            licence: Some("mit".into()),
            ..State::default()
        };
        let state = Arc::new(Mutex::new(state));
        for (listener, place) in listeners.into_iter().zip(["hub", "storage"]) {
            let (state, storage) = (Arc::clone(&state), storage.clone());
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (state, storage) = (Arc::clone(&state), storage.clone());
                    // A caller that goes away early is none of the server's business.
                    thread::spawn(move || {
                        let _ = answer(&stream, place, &state, &storage);
                    });
                }
            });
        }
        Self { state, hub, storage }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// From now on this goes wrong.
    pub fn fail(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// The licence of the model card.
    pub fn licence(&self, licence: Option<&str>) {
        self.state().licence = licence.map(str::to_owned);
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    /// Bytes of the requests with bodies: those that were sent in ranges, or the whole.
    pub fn downloads(&self) -> Vec<Request> {
        self.requests().into_iter().filter(|r| r.place == "storage" && r.method == "GET").collect()
    }

    /// Address of the hub.
    pub fn hub(&self) -> &str {
        &self.hub
    }

    /// Address of the storage, which also serves its files by plain paths.
    pub fn storage(&self) -> &str {
        &self.storage
    }

    /// `command` with this hub and a cache of its own in `home`.
    pub fn for_command<'c>(&self, command: &'c mut Command, home: &std::path::Path) -> &'c mut Command {
        for name in ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE"] {
            command.env_remove(name);
        }
        for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", &self.hub).env("HF_HOME", home)
    }
}

fn answer(
    stream: &TcpStream,
    place: &'static str,
    state: &Mutex<State>,
    storage: &str,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            match line.trim_end().split_once(':') {
                Some((name, value)) => headers.insert(name.to_lowercase(), value.trim().to_owned()),
                None => break,
            };
        }
        let mut words = first.split_whitespace().map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let token = headers.get("authorization").and_then(|v| v.strip_prefix("Bearer ")).map(str::to_owned);
        let request = Request { place, method, path, range: headers.get("range").cloned(), token };
        state.lock().unwrap().requests.push(request.clone());
        let goes_on = match place {
            "hub" => hub(stream, &request, state, storage)?,
            _ => content(stream, &request, state)?,
        };
        if !goes_on {
            return stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn head(mut stream: &TcpStream, status: &str, headers: &[(&str, String)]) -> std::io::Result<()> {
    let mut text = format!("HTTP/1.1 {status}\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    stream.write_all(text.as_bytes())
}

fn nothing() -> (&'static str, String) {
    ("Content-Length", "0".into())
}

fn hub(
    mut stream: &TcpStream,
    request: &Request,
    state: &Mutex<State>,
    storage: &str,
) -> std::io::Result<bool> {
    let mut state = state.lock().unwrap();
    if state.faults.busy > 0 {
        state.faults.busy -= 1;
        let wait = ("Retry-After", state.faults.retry_after.unwrap_or(0).to_string());
        head(stream, "503 Service Unavailable", &[wait, nothing()])?;
        return Ok(true);
    }
    if state.faults.token.is_some() && state.faults.token != request.token {
        head(stream, "401 Unauthorized", &[nothing()])?;
        return Ok(true);
    }
    if request.path.starts_with("/api/models/") {
        let card = state.licence.as_ref().map_or("{}".to_owned(), |l| format!("{{\"license\":\"{l}\"}}"));
        let body = format!("{{\"cardData\":{card}}}");
        head(stream, "200 OK", &[("Content-Length", body.len().to_string())])?;
        stream.write_all(body.as_bytes())?;
        return Ok(true);
    }
    // /OWNER/REPO/resolve/REVISION/FILE
    let parts: Vec<&str> = request.path.trim_start_matches('/').splitn(5, '/').collect();
    let [owner, repo, "resolve", revision, file] = parts.as_slice() else {
        head(stream, "404 Not Found", &[("X-Error-Code", "RepoNotFound".into()), nothing()])?;
        return Ok(true);
    };
    // A repository that was renamed.
    if *repo == "old" {
        let place = format!("/{owner}/new/resolve/{revision}/{file}");
        head(stream, "307 Temporary Redirect", &[("Location", place), nothing()])?;
        return Ok(true);
    }
    if !["main", COMMIT].contains(revision) {
        head(stream, "404 Not Found", &[("X-Error-Code", "RevisionNotFound".into()), nothing()])?;
        return Ok(true);
    }
    let name = format!("{owner}/{repo}/{file}");
    let Some(bytes) = state.files.get(&name) else {
        head(stream, "404 Not Found", &[("X-Error-Code", "EntryNotFound".into()), nothing()])?;
        return Ok(true);
    };
    let etag = state.faults.etag.clone().unwrap_or_else(|| sha256(bytes));
    let headers = [
        ("X-Repo-Commit", COMMIT.to_owned()),
        ("X-Linked-Etag", format!("\"{etag}\"")),
        ("X-Linked-Size", bytes.len().to_string()),
        ("Location", format!("{storage}/{name}")),
        nothing(),
    ];
    head(stream, "302 Found", &headers)?;
    Ok(true)
}

fn content(mut stream: &TcpStream, request: &Request, state: &Mutex<State>) -> std::io::Result<bool> {
    let (bytes, faults) = {
        let state = state.lock().unwrap();
        (state.files.get(request.path.trim_start_matches('/')).cloned(), state.faults.clone())
    };
    let Some(mut bytes) = bytes else {
        head(stream, "404 Not Found", &[nothing()])?;
        return Ok(true);
    };
    if faults.damaged {
        bytes[0] ^= 1;
    }
    let total = bytes.len();
    let from = request
        .range
        .as_deref()
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let from: usize = from.filter(|_| !faults.no_ranges).unwrap_or(0);
    if from >= total {
        head(
            stream,
            "416 Range Not Satisfiable",
            &[("Content-Range", format!("bytes */{total}")), nothing()],
        )?;
        return Ok(true);
    }
    let (status, range) = if from > 0 {
        ("206 Partial Content", format!("bytes {from}-{}/{total}", total - 1))
    } else {
        ("200 OK", String::new())
    };
    head(stream, status, &[("Content-Length", (total - from).to_string()), ("Content-Range", range)])?;
    let end = faults.cut_after.map_or(total, |most| total.min(from + most));
    for piece in bytes[from..end].chunks((total / 10).max(1)) {
        stream.write_all(piece)?;
        thread::sleep(faults.slow.unwrap_or_default());
    }
    Ok(end == total)
}
