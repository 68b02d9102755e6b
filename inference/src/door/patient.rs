//! A connection with patience: where nothing moves on it for too long, it is over. Somebody who opens connections and says
//! nothing, or a letter a minute, must not keep others out.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};
use tokio_rustls::server::TlsStream;

/// Prometheus keeps a connection open for five minutes between two uses of it.
const PATIENCE: Duration = Duration::from_secs(360);

/// Plain or under TLS.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// One of the connections that there may be at a time.
pub(crate) struct Connection {
    stream: Stream,
    /// When something moved last.
    moved: Instant,
    /// Wakes when that may have been too long ago. Set anew only then: to set it at every move would take the timers' lock each time.
    idle: Pin<Box<Sleep>>,
    patience: Duration,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    pub(super) fn new(stream: Stream, place: OwnedSemaphorePermit) -> Self {
        Self::with_patience(stream, place, PATIENCE)
    }

    fn with_patience(stream: Stream, place: OwnedSemaphorePermit, patience: Duration) -> Self {
        Self { stream, moved: Instant::now(), idle: Box::pin(sleep(patience)), patience, _place: place }
    }

    /// What `done` says; an error where it waits and has waited for too long.
    fn patiently<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.moved = Instant::now();
            return done;
        }
        while self.idle.as_mut().poll(cx).is_ready() {
            let over = self.moved + self.patience;
            if over <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.idle.as_mut().reset(over);
        }
        Poll::Pending
    }
}

/// Calls the same of whichever stream there is.
macro_rules! of_stream {
    ($connection:expr, $method:ident, $cx:expr $(, $argument:expr)*) => {
        match &mut $connection.stream {
            Stream::Plain(stream) => Pin::new(stream).$method($cx $(, $argument)*),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).$method($cx $(, $argument)*),
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let done = of_stream!(self, poll_read, cx, into);
        self.patiently(cx, done)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let done = of_stream!(self, poll_write, cx, bytes);
        self.patiently(cx, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = of_stream!(self, poll_write_vectored, cx, bytes);
        self.patiently(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_stream!(self, poll_flush, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_stream!(self, poll_shutdown, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::Semaphore;

    #[tokio::test]
    async fn a_connection_on_which_nothing_moves_is_over_and_its_place_is_free() {
        let (listener, places) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Arc::new(Semaphore::new(1)));
        let mut far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (near, place) = (listener.accept().await.unwrap().0, Arc::clone(&places).acquire_owned().await.unwrap());
        let mut near = Connection::with_patience(Stream::Plain(near), place, Duration::from_millis(500));
        // Slow is not silent: three times two thirds of the patience.
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            far.write_all(b"x").await.unwrap();
            assert_eq!(near.read_u8().await.unwrap(), b'x');
        }
        assert_eq!(near.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(places.available_permits(), 0);
        drop(near);
        assert_eq!(places.available_permits(), 1);
    }
}
