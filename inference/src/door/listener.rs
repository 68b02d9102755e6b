//! Takes connections: so many at a time, each under TLS where the door has it. A handshake holds up nobody else.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::patient::{Connection, Stream};
use super::{Door, certificate};

/// Connections at a time; more wait in the system's queue.
const MOST_CONNECTIONS: usize = 4096;
/// A handshake that takes longer is none.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// After an error that is not of one connection, such as no file being left.
const PAUSE: Duration = Duration::from_millis(500);

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Peer {
    pub(crate) addr: SocketAddr,
    /// The names in a certificate that was verified; empty where none was shown.
    pub(crate) names: Arc<[String]>,
}

impl Connected<IncomingStream<'_, DoorListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, DoorListener>) -> Self {
        stream.remote_addr().clone()
    }
}

/// Gives connections that are ready to be spoken on.
pub(crate) struct DoorListener {
    ready: mpsc::Receiver<(Connection, Peer)>,
    addr: SocketAddr,
    accepting: JoinHandle<()>,
}

impl DoorListener {
    pub(crate) fn new(listener: TcpListener, addr: SocketAddr, door: Arc<Door>) -> Self {
        let (send, ready) = mpsc::channel(64);
        let accepting = tokio::spawn(accept(listener, door, send));
        Self { ready, addr, accepting }
    }
}

impl Drop for DoorListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Listener for DoorListener {
    type Io = Connection;
    type Addr = Peer;

    async fn accept(&mut self) -> (Connection, Peer) {
        match self.ready.recv().await {
            Some(ready) => ready,
            // Nobody accepts any more, which only the end of the runtime brings about.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer { addr: self.addr, names: Arc::default() })
    }
}

async fn accept(listener: TcpListener, door: Arc<Door>, ready: mpsc::Sender<(Connection, Peer)>) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let (stream, addr) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                tracing::error!(%error, "connections not accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // An answer is written whole, so that there is nothing to wait for.
        let _ = stream.set_nodelay(true);
        if door.now().tls.is_none() {
            let peer = Peer { addr, names: Arc::default() };
            if ready.send((Connection::new(Stream::Plain(stream), place), peer)).await.is_err() {
                return;
            }
            continue;
        }
        let (door, ready) = (Arc::clone(&door), ready.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE, shake_hands(stream, addr, &door, place)).await {
                Ok(Ok(connection)) => drop(ready.send(connection).await),
                Ok(Err(error)) => tracing::debug!(from = %addr.ip(), %error, "no TLS handshake"),
                Err(_) => tracing::debug!(from = %addr.ip(), "TLS handshake took too long"),
            }
        });
    }
}

async fn shake_hands(
    stream: TcpStream,
    addr: SocketAddr,
    door: &Door,
    place: OwnedSemaphorePermit,
) -> io::Result<(Connection, Peer)> {
    let opened = door.now();
    let Some(config) = &opened.tls else { return Err(io::ErrorKind::Unsupported.into()) };
    let stream = TlsAcceptor::from(Arc::clone(config)).accept(stream).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let allowed = &opened.allowed_names;
    if let (Some(shown), false) = (shown, allowed.is_empty())
        && !certificate::alternative_names(shown).iter().any(|name| allowed.contains(name))
    {
        return Err(io::Error::other("the client's certificate has none of client_allowed_sans"));
    }
    let peer = Peer { addr, names: shown.map(certificate::names).unwrap_or_default().into() };
    Ok((Connection::new(Stream::Tls(Box::new(stream)), place), peer))
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionRefused | ConnectionAborted | ConnectionReset)
}
