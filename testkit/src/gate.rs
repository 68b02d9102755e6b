//! A gate before a server: everything passes while it is open; shut, whoever comes is turned away and whoever was inside
//! is cut off, as when a machine or the way to it goes away.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// On a spare loopback port; shut for ever when dropped.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    upstream: SocketAddr,
    open: AtomicBool,
    gone: AtomicBool,
    inside: Mutex<Vec<TcpStream>>,
}

impl Gate {
    /// Before `upstream`, open.
    pub fn start(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (open, gone) = (AtomicBool::new(true), AtomicBool::new(false));
        let inner = Arc::new(Inner { upstream, open, gone, inside: Mutex::default() });
        let shared = Arc::clone(&inner);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.gone.load(Ordering::SeqCst) {
                    return;
                }
                // A connection that fails is the caller's to notice.
                let _ = stream.and_then(|stream| shared.let_in(stream));
            }
        });
        Ok(Self { address, inner })
    }

    /// Where to knock.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets everybody in again.
    pub fn open(&self) {
        self.inner.open.store(true, Ordering::SeqCst);
    }

    /// Cuts off and turns away.
    pub fn shut(&self) {
        self.inner.open.store(false, Ordering::SeqCst);
        for stream in self.inner.inside.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.inner.gone.store(true, Ordering::SeqCst);
        self.shut();
        // Wakes the thread that waits for the next one.
        let _ = TcpStream::connect(self.address);
    }
}

impl Inner {
    fn let_in(&self, caller: TcpStream) -> io::Result<()> {
        if !self.open.load(Ordering::SeqCst) {
            return caller.shutdown(Shutdown::Both);
        }
        let server = TcpStream::connect(self.upstream)?;
        self.inside.lock().unwrap_or_else(PoisonError::into_inner).extend([caller.try_clone()?, server.try_clone()?]);
        pass(caller.try_clone()?, server.try_clone()?);
        pass(server, caller);
        Ok(())
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}
