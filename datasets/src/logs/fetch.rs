//! Fetching ahead: the next objects arrive while one is counted. A fetched object is a reader for a thread that may block,
//! with a bounded number of chunks in memory.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use forewarn_storage::{ObjectInfo, Store, StoreError};
use futures::StreamExt;
use tokio::sync::{mpsc, oneshot};

/// Chunks of an object that wait to be read; a chunk has 8 to 64 KiB.
const CHUNKS: usize = 32;

/// An object on its way.
pub(crate) struct Fetch {
    /// Tells what was opened: `None` where the object is gone by now.
    opened: oneshot::Receiver<Result<Option<ObjectInfo>, StoreError>>,
    chunks: mpsc::Receiver<Result<Bytes, StoreError>>,
}

impl Fetch {
    /// Begins to fetch; ends by itself when this is dropped.
    pub(crate) fn start(store: &Store, path: String) -> Self {
        let (store, (tell, opened), (sender, chunks)) = (store.clone(), oneshot::channel(), mpsc::channel(CHUNKS));
        tokio::spawn(async move {
            let mut stream = match store.stream(&path).await {
                Ok(Some(stream)) => stream,
                // Whom it would be told to may have gone.
                Ok(None) => return drop(tell.send(Ok(None))),
                Err(e) => return drop(tell.send(Err(e))),
            };
            let _ = tell.send(Ok(Some(stream.info)));
            while let Some(chunk) = stream.bytes.next().await {
                let is_last = chunk.is_err();
                if sender.send(chunk).await.is_err() || is_last {
                    return;
                }
            }
        });
        Self { opened, chunks }
    }

    /// What is being fetched and its bytes; `None` where the object is gone.
    pub(crate) async fn opened(self) -> Result<Option<(ObjectInfo, Chunks)>, StoreError> {
        // The task tells or panics; a panic there goes on here.
        let info = self.opened.await.expect("the task tells what it has opened")?;
        Ok(info.map(|info| (info, Chunks { chunks: self.chunks, current: Bytes::new(), failure: None })))
    }
}

/// The bytes of an object, for a thread that may block.
pub(crate) struct Chunks {
    chunks: mpsc::Receiver<Result<Bytes, StoreError>>,
    current: Bytes,
    /// Why the bytes ended before the object did.
    pub(crate) failure: Option<StoreError>,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                None => return Ok(0),
                Some(Ok(chunk)) => self.current = chunk,
                Some(Err(e)) => {
                    self.failure = Some(e);
                    return Err(io::Error::other("the object cannot be fetched"));
                }
            }
        }
        let length = buffer.len().min(self.current.len());
        self.current.split_to(length).copy_to_slice(buffer.get_mut(..length).unwrap_or_default());
        Ok(length)
    }
}
