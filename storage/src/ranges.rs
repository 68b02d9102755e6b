//! Parts of objects: byte ranges, sizes and whole trees. For large files of which little is wanted, such as the blocks
//! of a time series database.

use std::ops::Range;

use bytes::Bytes;
use futures::StreamExt;
use object_store::{GetOptions, GetRange, ObjectStoreExt};

use crate::error::StoreError;
use crate::store::Store;

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its path within the store.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was last written, in Unix milliseconds of the store's clock.
    pub modified_ms: i64,
}

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

    /// Every object below `folder`, however deep, sorted by path; at most `cap` of them.
    pub async fn walk(&self, folder: &str, cap: usize) -> Result<Vec<Listed>, StoreError> {
        let key = self.key(folder)?;
        let mut stream = self.objects.list(Some(&key));
        let mut found = Vec::new();
        while let Some(object) = stream.next().await {
            let object = object.map_err(|e| self.failed("list", folder, &e))?;
            if found.len() == cap {
                let cap = cap as u64;
                return Err(StoreError::TooMany { path: folder.to_owned(), cap });
            }
            let parts: Vec<_> = object.location.parts().skip(self.prefix.parts().count()).collect();
            let path = parts.iter().map(|part| part.as_ref()).collect::<Vec<_>>().join("/");
            found.push(Listed { path, bytes: object.size, modified_ms: object.last_modified.timestamp_millis() });
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
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

    #[tokio::test]
    async fn a_walk_goes_all_the_way_down() {
        let (_folder, store) = temporary();
        for path in ["a/x/1", "a/2", "b/3"] {
            store.put(path, Bytes::from_static(b"xy")).await.unwrap();
        }
        let found = store.walk("a", 10).await.unwrap();
        let found: Vec<_> = found.iter().map(|o| (o.path.as_str(), o.bytes)).collect();
        assert_eq!(found, [("a/2", 2), ("a/x/1", 2)]);
        assert!(store.walk("", 2).await.is_err());
        assert!(store.walk("none", 2).await.unwrap().is_empty());
    }
}
