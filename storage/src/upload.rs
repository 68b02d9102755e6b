//! Files that are too large for memory: from a local file into the store, and back.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use futures::StreamExt;
use object_store::{ObjectStoreExt, WriteMultipart};
use tokio::io::AsyncReadExt as _;

use crate::error::StoreError;
use crate::store::Store;

/// What goes up in one request: S3 allows 10,000 of them in an object.
const PART_BYTES: usize = 16 << 20;
/// Parts on their way at a time.
const PARTS_AT_A_TIME: usize = 2;

impl Store {
    /// A folder for files that will be handed to [`put_file`](Self::put_file): in the store itself where it is a folder,
    /// so that nothing has to be copied, else the system's temporary one. `subfolder` is made if it is not there.
    pub fn workspace(&self, subfolder: &str) -> Result<PathBuf, StoreError> {
        let Some(folder) = &self.folder else { return Ok(std::env::temp_dir()) };
        self.key(subfolder)?;
        let folder = folder.join(subfolder);
        std::fs::create_dir_all(&folder).map_err(|e| self.failed("make", &folder.display().to_string(), &e))?;
        Ok(folder)
    }

    /// Where the object lies as a file, if the store is a folder and has it.
    pub fn local_file(&self, path: &str) -> Result<Option<PathBuf>, StoreError> {
        self.key(path)?;
        Ok(self.folder.as_ref().map(|folder| folder.join(path)).filter(|file| file.is_file()))
    }

    /// Writes the object whole or not at all from a local file, which is gone afterwards where the store is a folder on
    /// the same file system.
    pub async fn put_file(&self, path: &str, file: &Path) -> Result<(), StoreError> {
        match &self.folder {
            Some(folder) => {
                self.key(path)?;
                let target = folder.join(path);
                let failed = |e: std::io::Error| self.failed("write", path, &e);
                let source = std::fs::File::open(file).map_err(failed)?;
                source.sync_all().map_err(failed)?;
                let parent = target.parent().unwrap_or(folder);
                std::fs::create_dir_all(parent).map_err(failed)?;
                std::fs::rename(file, &target).map_err(failed)?;
                // So that the name survives a power cut too; not every file system allows it.
                if let Ok(parent) = std::fs::File::open(parent) {
                    let _ = parent.sync_all();
                }
                Ok(())
            }
            None => self.upload(path, file).await,
        }
    }

    async fn upload(&self, path: &str, file: &Path) -> Result<(), StoreError> {
        let key = self.key(path)?;
        let read = |e: std::io::Error| self.failed("read", &file.display().to_string(), &e);
        let mut source = tokio::fs::File::open(file).await.map_err(read)?;
        if source.metadata().await.map_err(read)?.len() <= PART_BYTES as u64 {
            let mut bytes = Vec::new();
            source.read_to_end(&mut bytes).await.map_err(read)?;
            return self.put(path, bytes.into()).await;
        }
        let failed = |e: object_store::Error| self.failed("write", path, &e);
        let upload = self.objects.put_multipart(&key).await.map_err(failed)?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        loop {
            let mut part = BytesMut::with_capacity(PART_BYTES);
            while part.len() < PART_BYTES && source.read_buf(&mut part).await.map_err(read)? > 0 {}
            if part.is_empty() {
                break;
            }
            upload.wait_for_capacity(PARTS_AT_A_TIME).await.map_err(failed)?;
            upload.put(part.freeze());
        }
        upload.finish().await.map(drop).map_err(failed)
    }

    /// Copies the object into `file`; says whether there was one. Refuses more than `cap` bytes, declared or arriving.
    pub async fn get_file(&self, path: &str, cap: u64, file: &mut std::fs::File) -> Result<bool, StoreError> {
        let too_large = |got: u64| StoreError::TooLarge { path: path.to_owned(), cap, got };
        let found = match self.objects.get(&self.key(path)?).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(false),
            Err(e) => return Err(self.failed("read", path, &e)),
        };
        if found.meta.size > cap {
            return Err(too_large(found.meta.size));
        }
        let mut got = 0;
        let mut stream = found.into_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|e| self.failed("read", path, &e))?;
            got += chunk.len() as u64;
            if got > cap {
                return Err(too_large(got));
            }
            file.write_all(&chunk).map_err(|e| self.failed("copy", path, &e))?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use crate::store::tests::temporary;

    #[tokio::test]
    async fn a_file_goes_in_and_comes_back() {
        let (_folder, store) = temporary();
        let file = store.workspace("a").unwrap().join("work#1");
        std::fs::write(&file, "bytes").unwrap();
        store.put_file("a/b/done", &file).await.unwrap();
        assert!(!file.exists());
        assert_eq!(store.get("a/b/done", 5).await.unwrap().unwrap(), "bytes");
        assert!(store.local_file("a/b/done").unwrap().is_some());
        let mut copy = tempfile::tempfile().unwrap();
        assert!(store.get_file("a/b/done", 5, &mut copy).await.unwrap());
        assert!(store.get_file("a/b/done", 4, &mut copy).await.is_err());
        assert!(!store.get_file("a/b/none", 4, &mut copy).await.unwrap());
    }
}
