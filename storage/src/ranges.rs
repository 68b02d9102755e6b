//! Parts of objects. For large files of which little is wanted, such as the blocks of a time series database.

use std::ops::Range;

use bytes::Bytes;
use object_store::{GetOptions, GetRange, ObjectStoreExt};

use crate::error::StoreError;
use crate::store::Store;

impl Store {
    /// The bytes of `range` (half-open), all of them; `None` where there is no object. A range that the object does not
    /// have whole is an error.
    pub async fn get_range(&self, path: &str, range: Range<u64>) -> Result<Option<Bytes>, StoreError> {
        if range.is_empty() {
            return Ok(Some(Bytes::new()));
        }
        let wanted = range.end - range.start;
        match self.objects.get_range(&self.key(path)?, range.clone()).await {
            Ok(bytes) if bytes.len() as u64 == wanted => Ok(Some(bytes)),
            Ok(bytes) => Err(StoreError::Short { path: path.to_owned(), wanted, got: bytes.len() as u64 }),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.failed("read", path, &e)),
        }
    }

    /// The last `bytes` bytes (all, where there are fewer) and the object's size; `None` where there is no object.
    pub async fn get_suffix(&self, path: &str, bytes: u64) -> Result<Option<(Bytes, u64)>, StoreError> {
        let options = GetOptions { range: Some(GetRange::Suffix(bytes)), ..GetOptions::default() };
        let found = match self.objects.get_opts(&self.key(path)?, options).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(self.failed("read", path, &e)),
        };
        let size = found.meta.size;
        let wanted = bytes.min(size);
        let range = found.range.clone();
        if range.end.saturating_sub(range.start) > wanted {
            return Err(StoreError::TooLarge { path: path.to_owned(), cap: wanted, got: range.end - range.start });
        }
        let bytes = found.bytes().await.map_err(|e| self.failed("read", path, &e))?;
        if bytes.len() as u64 != wanted {
            return Err(StoreError::Short { path: path.to_owned(), wanted, got: bytes.len() as u64 });
        }
        Ok(Some((bytes, size)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::temporary;

    #[tokio::test]
    async fn a_part_is_read_whole_or_not_at_all() {
        let (_folder, store) = temporary();
        store.put("a/b", Bytes::from_static(b"0123456789")).await.unwrap();
        assert_eq!(store.get_range("a/b", 2..5).await.unwrap().unwrap(), "234");
        assert_eq!(store.get_range("a/b", 4..4).await.unwrap().unwrap(), "");
        assert_eq!(store.get_range("a/c", 2..5).await.unwrap(), None);
        assert!(store.get_range("a/b", 8..12).await.is_err());
        assert_eq!(store.get_suffix("a/b", 3).await.unwrap(), Some((Bytes::from_static(b"789"), 10)));
        assert_eq!(store.get_suffix("a/b", 30).await.unwrap().unwrap().0, "0123456789");
        assert_eq!(store.get_suffix("a/c", 3).await.unwrap(), None);
    }
}
