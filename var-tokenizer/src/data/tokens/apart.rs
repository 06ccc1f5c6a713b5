//! A token file read in a process of its own: HDF5's crash, or its endless loop, ends that process alone.
//!
//! The program starts itself again with [`VARIABLE`] set. Before its own `main` (`torch/shim.cpp`) the new
//! process becomes a server: a line of greeting and the file's outline on standard output, then for each
//! request on standard input (`train 0 4096`) a line of JSON and the rows as they lie in memory. It ends with
//! its input.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::reader::{Ids, Outline, Strip};
use super::stored::Stored;
use super::{TokenInfo, slot};
use crate::data::images::Split;
use crate::runtime::error::{Error, Result};

/// Names the file that the process is to serve; known to `torch/shim.cpp` as well.
const VARIABLE: &str = "VAR_SERVE_TOKENS";
/// First line of a process that became a server.
const GREETING: &str = "token rows 1";
/// Without a byte for so long the server hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest line of JSON: a million class names.
const LONGEST_LINE: u64 = 256 << 20;

/// Where rows come from.
#[derive(Debug)]
pub(super) enum Reader {
    /// From a process of their own.
    Apart { path: PathBuf, server: Mutex<Server> },
    /// From this one, where the program cannot be started again.
    Here(Stored),
}

/// A request's outcome, before the rows.
#[derive(Debug, Serialize, Deserialize)]
enum Reply<T> {
    Fine(T),
    /// The system refused, with this error number.
    System(i32),
    /// The file is at fault.
    File(String),
}

impl<T> Reply<T> {
    fn of(outcome: Result<T>) -> Self {
        match outcome {
            Ok(value) => Self::Fine(value),
            Err(Error::Io { source, .. }) if source.raw_os_error().is_some() => {
                Self::System(source.raw_os_error().unwrap_or_default())
            }
            Err(Error::File { message, .. }) => Self::File(message),
            Err(e) => Self::File(e.to_string()),
        }
    }

    fn into_result(self, path: &Path) -> Result<T> {
        match self {
            Self::Fine(value) => Ok(value),
            Self::System(number) => Err(Error::io(path, std::io::Error::from_raw_os_error(number))),
            Self::File(message) => Err(Error::file(path, message)),
        }
    }
}

impl Reader {
    /// Opens `path`.
    pub(super) fn open(path: &Path) -> Result<(Self, Outline)> {
        let Some(mut server) = Server::start(path) else {
            let stored = Stored::open(path)?;
            let outline = Outline { info: stored.info().clone(), rows: stored.rows() };
            return Ok((Self::Here(stored), outline));
        };
        let reply: Reply<Outline> = server.line().map_err(|e| server.lost(path, &e))?;
        let outline = reply.into_result(path)?;
        Ok((Self::Apart { path: path.to_owned(), server: Mutex::new(server) }, outline))
    }

    /// Some rows, which must exist, of a file with `info`.
    pub(super) fn strip(&self, info: &TokenInfo, split: Split, rows: Range<usize>) -> Result<Strip> {
        match self {
            Self::Here(stored) => stored.strip(split, rows),
            Self::Apart { path, server } => {
                // A lock is poisoned by a panic between request and reply, after which nothing answers.
                let mut server = server.lock().unwrap_or_else(PoisonError::into_inner);
                let ask = |server: &mut Server| -> std::io::Result<Reply<()>> {
                    writeln!(server.requests, "{} {} {}", slot(split), rows.start, rows.end)?;
                    server.requests.flush()?;
                    server.line()
                };
                let reply = ask(&mut server);
                reply.map_err(|e| server.lost(path, &e))?.into_result(path)?;
                let count = rows.len();
                let strip = Strip::receive(&mut server.replies, count, count * info.length(), info.narrow());
                strip.map_err(|e| server.lost(path, &e))
            }
        }
    }
}

/// The process that reads.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    requests: ChildStdin,
    replies: BufReader<Chunks>,
}

impl Server {
    /// Starts the server of `path`; none when this program cannot be started again as one.
    fn start(path: &Path) -> Option<Self> {
        // On Linux by a name that stays right when the program's file is replaced meanwhile.
        let own = Path::new("/proc/self/exe");
        let program = if own.exists() { own.to_owned() } else { std::env::current_exe().ok()? };
        let mut command = Command::new(program);
        command.env(VARIABLE, path).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // Ctrl-C is for the program, which says what it stopped; the server ends with it.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().ok()?;
        let (Some(requests), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return None;
        };
        let (sender, chunks) = sync_channel(2);
        std::thread::spawn(move || pump(output, &sender));
        let replies = BufReader::with_capacity(1 << 16, Chunks { chunks, rest: Vec::new(), at: 0 });
        let mut server = Self { child, requests, replies };
        let mut greeting = vec![0; GREETING.len() + 1];
        server.replies.read_exact(&mut greeting).ok()?;
        (greeting.strip_suffix(b"\n") == Some(GREETING.as_bytes())).then_some(server)
    }

    /// The next line, as JSON.
    fn line<T: DeserializeOwned>(&mut self) -> std::io::Result<T> {
        let mut line = Vec::new();
        (&mut self.replies).take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        serde_json::from_slice(&line).map_err(std::io::Error::from)
    }

    /// What it means that the server did not answer as it should. It is ended: later requests fail as well.
    fn lost(&mut self, path: &Path, e: &std::io::Error) -> Error {
        let _ = self.child.kill();
        let how = match e.kind() {
            ErrorKind::TimedOut => format!("for {} s the HDF5 library did not come back", PATIENCE.as_secs()),
            _ => "the HDF5 library crashes on it".to_owned(),
        };
        Error::file(path, format!("damaged: {how}; encode it again"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Hands on what comes, chunk by chunk.
fn pump(mut from: impl Read, to: &SyncSender<Vec<u8>>) {
    let mut buffer = vec![0; 1 << 20];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let chunk = buffer.get(..count).unwrap_or_default().to_vec();
        if to.send(chunk).is_err() {
            return;
        }
    }
}

/// Bytes of another process, waited for with patience.
#[derive(Debug)]
struct Chunks {
    chunks: Receiver<Vec<u8>>,
    rest: Vec<u8>,
    at: usize,
}

impl Read for Chunks {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.rest.len() {
            self.rest = match self.chunks.recv_timeout(PATIENCE) {
                Ok(chunk) => chunk,
                Err(RecvTimeoutError::Timeout) => return Err(ErrorKind::TimedOut.into()),
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
            };
            self.at = 0;
        }
        let left = self.rest.get(self.at..).unwrap_or_default();
        let count = left.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..count), left.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}

impl Strip {
    /// Both processes are the same program on the same machine: numbers cross as they lie in memory.
    fn send(&self, to: &mut impl Write) -> std::io::Result<()> {
        let narrow = |values: &[u16]| values.iter().flat_map(|v| v.to_ne_bytes()).collect::<Vec<u8>>();
        let wide = |values: &[u32]| values.iter().flat_map(|v| v.to_ne_bytes()).collect::<Vec<u8>>();
        match &self.ids {
            Ids::Narrow(ids) => to.write_all(&narrow(ids))?,
            Ids::Wide(ids) => to.write_all(&wide(ids))?,
        }
        to.write_all(&wide(&self.labels))?;
        to.write_all(&wide(&self.sources))?;
        to.write_all(&narrow(&self.crops))
    }

    fn receive(from: &mut impl Read, rows: usize, tokens: usize, narrow: bool) -> std::io::Result<Self> {
        Ok(Self {
            ids: if narrow {
                Ids::Narrow(numbers(from, tokens, u16::from_ne_bytes)?)
            } else {
                Ids::Wide(numbers(from, tokens, u32::from_ne_bytes)?)
            },
            labels: numbers(from, rows, u32::from_ne_bytes)?,
            sources: numbers(from, rows, u32::from_ne_bytes)?,
            crops: numbers(from, rows, u16::from_ne_bytes)?,
        })
    }
}

fn numbers<T, const N: usize>(
    from: &mut impl Read,
    count: usize,
    number: fn([u8; N]) -> T,
) -> std::io::Result<Vec<T>> {
    let mut bytes = vec![0; count * N];
    from.read_exact(&mut bytes)?;
    Ok(bytes.as_chunks::<N>().0.iter().map(|bytes| number(*bytes)).collect())
}

/// The life of a server: everything that [`VARIABLE`] asks for.
pub(super) fn serve() {
    // Without a reader there is nobody to tell.
    let _ = serve_to(&mut std::io::stdin().lock(), &mut std::io::stdout().lock());
}

fn serve_to(requests: &mut impl BufRead, replies: &mut impl Write) -> std::io::Result<()> {
    let path = PathBuf::from(std::env::var_os(VARIABLE).unwrap_or_default());
    replies.write_all(GREETING.as_bytes())?;
    replies.write_all(b"\n")?;
    replies.flush()?;
    let stored = match Stored::open(&path) {
        Ok(stored) => stored,
        Err(e) => return say(replies, &Reply::<Outline>::of(Err(e))),
    };
    say(replies, &Reply::Fine(Outline { info: stored.info().clone(), rows: stored.rows() }))?;
    let mut line = String::new();
    while requests.read_line(&mut line)? > 0 {
        let mut words = line.split_whitespace().map(str::parse::<usize>);
        let (Some(Ok(part)), Some(Ok(begin)), Some(Ok(end))) = (words.next(), words.next(), words.next())
        else {
            return Err(ErrorKind::InvalidInput.into());
        };
        let split = if part == slot(Split::Train) { Split::Train } else { Split::Val };
        match stored.strip(split, begin..end) {
            Ok(strip) => {
                say(replies, &Reply::Fine(()))?;
                strip.send(replies)?;
            }
            Err(e) => say(replies, &Reply::<()>::of(Err(e)))?,
        }
        replies.flush()?;
        line.clear();
    }
    Ok(())
}

fn say<T: Serialize>(to: &mut impl Write, reply: &Reply<T>) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}
