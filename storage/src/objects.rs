//! Listings, and other people's objects: everything below a prefix, with what tells one version from another, and
//! reading one as a stream. What we write ourselves is read with [`Store::get`].

use bytes::Bytes;
use futures::stream::{BoxStream, Stream, StreamExt};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use crate::error::StoreError;
use crate::store::Store;

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its path within the store.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// When it was last written, in Unix milliseconds. In S3, for a multipart upload, when that began.
    pub last_modified_ms: i64,
    /// Another one means other bytes. Made of size and time where the place has no tags.
    pub etag: String,
}

/// An object's bytes, as they arrive.
pub struct ObjectStream {
    /// Of the version that is being read, which may be another than was listed.
    pub info: ObjectInfo,
    /// Ends with the object or with the first error.
    pub bytes: BoxStream<'static, Result<Bytes, StoreError>>,
}

impl Store {
    /// Every object below `folder`, however deep, in no order; asked for page by page as the stream is read. Empty
    /// ones, too, such as the markers by which consoles show folders.
    pub fn objects(&self, folder: &str) -> Result<impl Stream<Item = Result<ObjectInfo, StoreError>>, StoreError> {
        let listing = self.objects.list(Some(&self.key(folder)?));
        let (store, folder) = (self.clone(), folder.to_owned());
        Ok(listing.map(move |object| match object {
            Ok(meta) => Ok(store.info(&meta)),
            Err(e) => Err(store.failed("list", &folder, &e)),
        }))
    }

    /// Every object below `folder`, however deep, sorted by path; at most `cap` of them.
    pub async fn walk(&self, folder: &str, cap: usize) -> Result<Vec<ObjectInfo>, StoreError> {
        let mut listing = std::pin::pin!(self.objects(folder)?);
        let mut found = Vec::new();
        while let Some(object) = listing.next().await {
            let object = object?;
            if found.len() == cap {
                return Err(StoreError::TooMany { path: folder.to_owned(), cap: cap as u64 });
            }
            found.push(object);
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// Opens an object for reading; `None` where there is none. The caller stops when it has had enough.
    pub async fn stream(&self, path: &str) -> Result<Option<ObjectStream>, StoreError> {
        let found = match self.objects.get(&self.key(path)?).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(self.failed("read", path, &e)),
        };
        let info = self.info(&found.meta);
        let (store, path) = (self.clone(), path.to_owned());
        let bytes = found.into_stream().map(move |chunk| chunk.map_err(|e| store.failed("read", &path, &e)));
        Ok(Some(ObjectStream { info, bytes: bytes.boxed() }))
    }

    fn info(&self, meta: &ObjectMeta) -> ObjectInfo {
        let within = meta.location.prefix_match(&self.prefix);
        let path = match within {
            Some(parts) => parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/"),
            None => meta.location.to_string(),
        };
        let last_modified_ms = meta.last_modified.timestamp_millis();
        let etag = meta.e_tag.clone().unwrap_or_else(|| format!("{}-{last_modified_ms}", meta.size));
        ObjectInfo { path, size: meta.size, last_modified_ms, etag }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::temporary;

    #[tokio::test]
    async fn a_listing_goes_deep_and_a_stream_gives_what_was_written() {
        let (_folder, store) = temporary();
        for path in ["logs/a/b/c", "logs/d", "other/e"] {
            store.put(path, Bytes::from_static(b"abc")).await.unwrap();
        }
        let found: Vec<_> = store.objects("logs").unwrap().collect().await;
        let mut paths: Vec<String> = found.into_iter().map(|o| o.unwrap().path).collect();
        paths.sort();
        assert_eq!(paths, ["logs/a/b/c", "logs/d"]);
        let stream = store.stream("logs/d").await.unwrap().unwrap();
        assert_eq!(stream.info.size, 3);
        let chunks: Vec<_> = stream.bytes.collect().await;
        assert_eq!(chunks.into_iter().map(Result::unwrap).collect::<Vec<_>>().concat(), b"abc");
        assert!(store.stream("logs/none").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn other_bytes_have_another_etag() {
        let (_folder, store) = temporary();
        store.put("a", Bytes::from_static(b"1")).await.unwrap();
        let first = store.stream("a").await.unwrap().unwrap().info;
        store.put("a", Bytes::from_static(b"22")).await.unwrap();
        assert_ne!(store.stream("a").await.unwrap().unwrap().info.etag, first.etag);
    }

    #[tokio::test]
    async fn a_walk_goes_all_the_way_down() {
        let (_folder, store) = temporary();
        for path in ["a/x/1", "a/2", "b/3"] {
            store.put(path, Bytes::from_static(b"xy")).await.unwrap();
        }
        let found = store.walk("a", 10).await.unwrap();
        let found: Vec<_> = found.iter().map(|o| (o.path.as_str(), o.size)).collect();
        assert_eq!(found, [("a/2", 2), ("a/x/1", 2)]);
        assert!(store.walk("", 2).await.is_err());
        assert!(store.walk("none", 2).await.unwrap().is_empty());
    }
}
