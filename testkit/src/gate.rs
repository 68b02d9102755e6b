//! A gate before a server: everything passes while it is open; shut, connections are refused and whoever was inside is cut
//! off, as when a machine goes away.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// On a spare loopback port; shut for ever when dropped.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    upstream: SocketAddr,
    keeper: Mutex<Option<Keeper>>,
}

/// Who lets in, while it is open.
#[derive(Debug)]
struct Keeper {
    leave: Arc<AtomicBool>,
    inside: Arc<Mutex<Vec<TcpStream>>>,
    thread: JoinHandle<()>,
}

impl Gate {
    /// Before `upstream`, open.
    pub fn start(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        Ok(Self { address, upstream, keeper: Mutex::new(Some(Keeper::start(listener, upstream))) })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets everybody in again.
    pub fn open(&self) -> io::Result<()> {
        let mut keeper = self.keeper();
        if keeper.is_none() {
            // Somebody's connection may have got the port for a moment.
            let mut tries = (0..50).map(|_| TcpListener::bind(self.address).inspect_err(|_| pause()));
            let listener = tries.find_map(Result::ok).ok_or_else(|| io::Error::other("the gate's port is taken"))?;
            *keeper = Some(Keeper::start(listener, self.upstream));
        }
        Ok(())
    }

    /// Cuts off and refuses.
    pub fn shut(&self) {
        let Some(keeper) = self.keeper().take() else { return };
        keeper.leave.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for the next one.
        let _ = TcpStream::connect(self.address);
        let _ = keeper.thread.join();
        for stream in keeper.inside.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn keeper(&self) -> MutexGuard<'_, Option<Keeper>> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.shut();
    }
}

impl Keeper {
    fn start(listener: TcpListener, upstream: SocketAddr) -> Self {
        let (leave, inside) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::default()));
        let (told, seen) = (Arc::clone(&leave), Arc::clone(&inside));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if told.load(Ordering::SeqCst) {
                    return;
                }
                // A connection that fails is the caller's to notice.
                let _ = stream.and_then(|stream| let_in(stream, upstream, &seen));
            }
        });
        Self { leave, inside, thread }
    }
}

fn let_in(caller: TcpStream, upstream: SocketAddr, inside: &Mutex<Vec<TcpStream>>) -> io::Result<()> {
    let server = TcpStream::connect(upstream)?;
    inside.lock().unwrap_or_else(PoisonError::into_inner).extend([caller.try_clone()?, server.try_clone()?]);
    pass(caller.try_clone()?, server.try_clone()?);
    pass(server, caller);
    Ok(())
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}

fn pause() {
    std::thread::sleep(Duration::from_millis(100));
}
