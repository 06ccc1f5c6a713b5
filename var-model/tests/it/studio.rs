//! `var-model serve` as a process of its own, and a client that speaks plain HTTP to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ExitStatus, Stdio};

use serde_json::{Value, json};

use super::support::program;

/// A running server. It is killed when this is dropped.
pub(crate) struct Studio {
    pub(crate) child: Child,
    /// The address that it printed.
    pub(crate) url: String,
    pub(crate) port: u16,
    /// What it writes to standard error.
    told: tempfile::NamedTempFile,
}

/// An answer to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The words of a refusal with this status.
    pub(crate) fn refused(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

/// The events of one request, as they come. Dropping it closes the connection.
pub(crate) struct Stream {
    reader: BufReader<TcpStream>,
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    /// What is read and not yet taken.
    text: String,
}

impl Studio {
    /// Starts `var-model serve --port 0` with more flags.
    pub(crate) fn start(flags: &[&str]) -> Self {
        let told = tempfile::NamedTempFile::new().unwrap();
        let mut child = program(&["serve", "--port", "0"])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(told.reopen().unwrap())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let url = url.trim().to_owned();
        let port = url.split(':').nth(2).and_then(|rest| rest.split('/').next()).and_then(|p| p.parse().ok());
        let port = port.unwrap_or_else(|| panic!("{url}: {}", std::fs::read_to_string(told.path()).unwrap()));
        Self { child, url, port, told }
    }

    /// With the built-in model, computing in f32.
    pub(crate) fn built_in() -> Self {
        Self::start(&["--precision", "f32"])
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn told(&self) -> String {
        std::fs::read_to_string(self.told.path()).unwrap()
    }

    /// Sends a request with exactly these headers, and a length.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Stream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        // The server may answer, and close, before it has read all.
        let _ = stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes());
        let _ = stream.write_all(body);
        Stream::read_head(stream)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[("Host", &format!("127.0.0.1:{}", self.port))], b"").answer()
    }

    /// Posts as the page does.
    fn posted(&self, path: &str, kind: &str, body: &[u8]) -> Stream {
        let (host, origin) = (format!("127.0.0.1:{}", self.port), self.origin());
        let headers = [("Host", host.as_str()), ("Origin", &origin), ("Content-Type", kind)];
        self.send("POST", path, &headers, body)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.stream(path, body).answer()
    }

    pub(crate) fn post_bytes(&self, path: &str, body: &[u8]) -> Answer {
        self.posted(path, "application/octet-stream", body).answer()
    }

    /// Posts, and leaves the answer to be read as it comes.
    pub(crate) fn stream(&self, path: &str, body: &Value) -> Stream {
        self.posted(path, "application/json", body.to_string().as_bytes())
    }

    /// All events of a request.
    pub(crate) fn events(&self, path: &str, body: &Value) -> Vec<Value> {
        let mut stream = self.stream(path, body);
        assert_eq!(stream.status, 200, "{body}");
        std::iter::from_fn(|| stream.next_event()).collect()
    }

    /// Memory of the process in bytes.
    pub(crate) fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Waits for the end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Studio {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let told = self.told();
        assert!(std::thread::panicking() || !told.contains("panicked"), "{told}");
    }
}

impl Stream {
    fn read_head(stream: TcpStream) -> Self {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no answer: '{line}'"));
        let mut headers = Vec::new();
        loop {
            line.clear();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim().split_once(':') else { break };
            headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
        Self { reader, status, headers, text: String::new() }
    }

    fn chunked(&self) -> bool {
        self.headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked")
    }

    /// The next part of the body; empty at the end.
    fn part(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if !self.chunked() {
            self.reader.read_to_end(&mut bytes).unwrap();
            return bytes;
        }
        let mut line = String::new();
        if self.reader.read_line(&mut line).is_err() {
            return bytes;
        }
        bytes.resize(usize::from_str_radix(line.trim(), 16).unwrap_or(0), 0);
        self.reader.read_exact(&mut bytes).unwrap();
        self.reader.read_line(&mut line).unwrap();
        bytes
    }

    /// The whole answer.
    pub(crate) fn answer(mut self) -> Answer {
        let mut body = Vec::new();
        loop {
            let part = self.part();
            if part.is_empty() {
                return Answer { status: self.status, headers: self.headers, body };
            }
            body.extend(part);
        }
    }

    /// The next event; `None` at the end.
    pub(crate) fn next_event(&mut self) -> Option<Value> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let event = block.strip_prefix("data: ").map(|data| serde_json::from_str(data).unwrap());
                self.text = rest.to_owned();
                if event.is_some() {
                    return event;
                }
                continue;
            }
            let part = self.part();
            if part.is_empty() {
                return None;
            }
            self.text.push_str(std::str::from_utf8(&part).unwrap());
        }
    }

    /// Reads on to the event of this name.
    pub(crate) fn until(&mut self, name: &str) -> Value {
        while let Some(event) = self.next_event() {
            if event["event"] == name {
                return event;
            }
            assert_ne!(event["event"], "failed", "{event}");
        }
        panic!("no event '{name}'");
    }
}

/// A request for images of `classes`.
pub(crate) fn sample(classes: &[usize], per_class: usize, seed: u64) -> Value {
    json!({
        "classes": classes, "per_class": per_class, "seed": seed, "scales": true,
        "cfg": 1.5, "top_k": 900, "top_p": 0.96, "more_smooth": false,
    })
}

/// A request for a part of `photo`.
pub(crate) fn edit(photo: &[u8], name: &str, area: &Value) -> Value {
    let mut body = json!({
        "photo": base64(photo), "name": name, "outside": false, "class": null, "variants": 1, "feather": null,
        "seed": 0, "scales": true, "cfg": 3.0, "top_k": 900, "top_p": 0.95, "more_smooth": true,
    });
    for (key, value) in area.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

pub(crate) fn bytes_of(text: &Value) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text.as_str().unwrap()).unwrap()
}
