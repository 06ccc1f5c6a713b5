//! A listener that takes a limited number of connections at a time, and ends those that are silent for long: they would
//! keep others out.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// Maximum number of open connections. More wait until one ends.
const MOST: usize = 128;
/// Time without a byte in either direction after which a connection ends. A stream of events is never silent so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// A listener with a limit.
pub(super) struct Limited {
    listener: TcpListener,
    free: Arc<Semaphore>,
    patience: Duration,
}

/// A connection, which counts until it ends.
pub(super) struct Connection {
    stream: TcpStream,
    /// Runs out when the connection was silent for `patience`.
    silence: Pin<Box<Sleep>>,
    patience: Duration,
    _place: Option<OwnedSemaphorePermit>,
}

impl Limited {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, free: Arc::new(Semaphore::new(MOST)), patience: PATIENCE }
    }
}

impl Connection {
    /// Starts to count again if bytes went through.
    fn heard<T>(&mut self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Ok(_)) = &outcome {
            let end = Instant::now() + self.patience;
            self.silence.as_mut().reset(end);
        }
        outcome
    }
}

impl Listener for Limited {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let place = Arc::clone(&self.free).acquire_owned().await.ok();
        // This one waits where the system has no more sockets.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // Events are short, and must not wait for more.
        let _ = stream.set_nodelay(true);
        let (silence, patience) = (Box::pin(sleep(self.patience)), self.patience);
        (Connection { stream, silence, patience, _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let read = self.heard(read);
        if read.is_pending() && self.silence.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.heard(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.heard(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[test]
    fn a_silent_connection_ends_and_makes_room_for_the_next() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let patience = Duration::from_millis(20);
            let mut limited = Limited { listener, free: Arc::new(Semaphore::new(1)), patience };
            let clients = [std::net::TcpStream::connect(address), std::net::TcpStream::connect(address)];
            let (mut silent, _) = limited.accept().await;
            let mut bytes = [0; 8];
            let ended =
                poll_fn(|cx| Pin::new(&mut silent).poll_read(cx, &mut ReadBuf::new(&mut bytes))).await;
            assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
            assert_eq!(limited.free.available_permits(), 0);
            drop(silent);
            let (_second, _) = limited.accept().await;
            drop(clients);
        });
    }
}
