//! A headless Chromium, driven through its DevTools protocol.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket, client};

/// Names of the program in `PATH`.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/// Flags of a browser that starts quickly, touches nothing of the user, and asks nobody on the network.
const FLAGS: [&str; 14] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-default-apps",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    "about:blank",
];
/// No page takes so long. A browser that lives on without an answer hangs.
const HUNG: Duration = Duration::from_secs(120);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// A browser with one page.
pub(crate) struct Browser {
    child: Child,
    socket: WebSocket<TcpStream>,
    session: String,
    calls: u64,
    /// Errors that the page reported.
    problems: Vec<String>,
    _profile: tempfile::TempDir,
}

/// The browser of this machine.
fn program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHROME").filter(|name| !name.is_empty()) {
        return Some(named.into());
    }
    let folders = std::env::var_os("PATH")?;
    let mut found = std::env::split_paths(&folders).flat_map(|folder| NAMES.map(|name| folder.join(name)));
    found.find(|path| path.is_file())
}

/// Says that the test `name` was skipped, also to the caller of all tests.
fn skipped(name: &str) {
    let line =
        format!("{name}: skipped: no Chromium (set CHROME, or put chromium or google-chrome into PATH)");
    println!("{line}");
    if let Some(file) = std::env::var_os("VAR_SKIPPED") {
        let mut file = std::fs::File::options().create(true).append(true).open(file).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}

impl Browser {
    /// Starts a browser for the test `name`; without one, says so.
    pub(crate) fn start(name: &str) -> Option<Self> {
        let Some(program) = program() else {
            skipped(name);
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        let mut child = Command::new(&program)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(FLAGS)
            // That of libtorch is not for it.
            .env_remove("LD_LIBRARY_PATH")
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", program.display()));
        let (port, path) = address(&mut child, profile.path());
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        let (socket, _) = client(format!("ws://127.0.0.1:{port}{path}"), stream).unwrap();
        let (calls, problems) = (0, Vec::new());
        let mut browser = Self { child, socket, session: String::new(), calls, problems, _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let to = json!({ "targetId": target["targetId"], "flatten": true });
        browser.session = browser.call("Target.attachToTarget", to)["sessionId"].as_str().unwrap().into();
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Calls a method of the protocol; events that come before its answer are noted.
    pub(crate) fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.socket.send(Message::text(message.to_string())).unwrap();
        loop {
            let Message::Text(text) = self.socket.read().unwrap() else { continue };
            let answer: Value = serde_json::from_str(&text).unwrap();
            if answer["id"] == self.calls {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
            self.note(&answer);
        }
    }

    /// Notes errors of the page: exceptions, messages on the console, violations of the content policy.
    fn note(&mut self, event: &Value) {
        let told = &event["params"];
        let bad = match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => true,
            "Runtime.consoleAPICalled" => {
                ["error", "warning", "assert"].iter().any(|kind| told["type"] == *kind)
            }
            "Log.entryAdded" => ["error", "warning"].iter().any(|level| told["entry"]["level"] == *level),
            _ => false,
        };
        if bad {
            self.problems.push(told.to_string());
        }
    }

    /// Opens the page at `url` in a window of this size, and waits until it is ready.
    pub(crate) fn open(&mut self, url: &str, width: u32, height: u32) {
        self.size(width, height);
        self.call("Page.navigate", json!({ "url": url }));
        self.wait("document.body && 'ready' in document.body.dataset");
    }

    /// Gives the window this size; a narrow one is that of a phone.
    pub(crate) fn size(&mut self, width: u32, height: u32) {
        let phone = width < 600;
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone });
        self.call("Emulation.setDeviceMetricsOverride", size);
        self.call("Emulation.setTouchEmulationEnabled", json!({ "enabled": phone }));
    }

    /// The value of an expression in the page; promises are awaited.
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", asked);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub(crate) fn wait(&mut self, expression: &str) {
        let began = Instant::now();
        while self.eval(expression) != json!(true) {
            if began.elapsed() > HUNG {
                let page = self.eval("document.body.innerText");
                panic!("waited in vain for {expression}; problems {:?}; the page: {page}", self.problems);
            }
            std::thread::sleep(PAUSE);
        }
    }

    pub(crate) fn click(&mut self, selector: &str) {
        self.eval(&format!("document.querySelector({}).click()", json!(selector)));
    }

    /// The text of an element.
    pub(crate) fn text(&mut self, selector: &str) -> String {
        let text = self.eval(&format!("document.querySelector({}).textContent", json!(selector)));
        text.as_str().unwrap().to_owned()
    }

    /// The point at these fractions of an element, after scrolling to it.
    pub(crate) fn point(&mut self, selector: &str, x: f64, y: f64) -> (f64, f64) {
        let place = self.eval(&format!(
            "(() => {{ const e = document.querySelector({}); e.scrollIntoView({{ block: 'center' }}); \
             const r = e.getBoundingClientRect(); return [r.left + r.width * {x}, r.top + r.height * {y}]; }})()",
            json!(selector)
        ));
        (place[0].as_f64().unwrap(), place[1].as_f64().unwrap())
    }

    /// Draws with the mouse, from point to point.
    pub(crate) fn drag(&mut self, points: &[(f64, f64)]) {
        let mut kind = "mousePressed";
        for &(x, y) in points {
            let event =
                json!({ "type": kind, "x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event);
            kind = "mouseMoved";
        }
        let &(x, y) = points.last().unwrap();
        let event = json!({ "type": "mouseReleased", "x": x, "y": y, "button": "left", "clickCount": 1 });
        self.call("Input.dispatchMouseEvent", event);
    }

    /// Draws with a finger, from point to point.
    pub(crate) fn swipe(&mut self, points: &[(f64, f64)]) {
        let mut kind = "touchStart";
        for &(x, y) in points {
            self.call(
                "Input.dispatchTouchEvent",
                json!({ "type": kind, "touchPoints": [{ "x": x, "y": y }] }),
            );
            kind = "touchMove";
        }
        self.call("Input.dispatchTouchEvent", json!({ "type": "touchEnd", "touchPoints": [] }));
    }

    /// Presses a key.
    pub(crate) fn key(&mut self, key: &str, code: u32) {
        for kind in ["rawKeyDown", "keyUp"] {
            let event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Writes pictures of the window, light and dark, to the folder `VAR_SCREENSHOTS`, if there is one.
    pub(crate) fn picture(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("VAR_SCREENSHOTS") else { return };
        for theme in ["light", "dark"] {
            let features = json!([{ "name": "prefers-color-scheme", "value": theme }]);
            self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
            let shot = self.call("Page.captureScreenshot", json!({ "format": "png" }));
            let bytes = super::studio::bytes_of(&shot["data"]);
            std::fs::write(Path::new(&folder).join(format!("{name}-{theme}.png")), bytes).unwrap();
        }
    }

    /// Forgets reports with this text.
    pub(crate) fn forgive(&mut self, text: &str) {
        self.eval("new Promise(ready => setTimeout(() => ready(true), 50))");
        self.problems.retain(|problem| !problem.contains(text));
    }

    /// Ends the browser. The page must have reported nothing.
    pub(crate) fn end(mut self) {
        // Whatever was reported before comes before this answer.
        self.eval("new Promise(ready => setTimeout(() => ready(true), 50))");
        let problems: BTreeSet<_> = self.problems.drain(..).collect();
        assert!(problems.is_empty(), "{problems:#?}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its own way to end takes its child processes along.
        let _ = self.socket.send(Message::text(json!({ "id": 0, "method": "Browser.close" }).to_string()));
        let began = Instant::now();
        while self.child.try_wait().is_ok_and(|status| status.is_none()) {
            if began.elapsed() > Duration::from_secs(20) {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Port and path of the protocol, which the browser writes into its profile.
fn address(child: &mut Child, profile: &Path) -> (u16, String) {
    let file = profile.join("DevToolsActivePort");
    let mut found = None;
    super::wait::while_alive(std::slice::from_mut(child), "the address of its protocol", || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let mut lines = text.lines();
        let port = lines.next().and_then(|port| port.parse().ok());
        found = port.zip(lines.next().map(str::to_owned));
        found.is_some()
    });
    found.unwrap()
}
