//! From a URL to a store. Nothing is read or written yet, but the folder is made if it is not there.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientOptions, RetryConfig};
use url::Url;

use crate::crypto::install_crypto_provider;
use crate::error::{StoreError, one_line};
use crate::patient::PatientConnector;
use crate::store::Store;

impl Store {
    /// Opens `file:///path` (the folder is made if it is not there) or `s3://bucket/prefix`, whose credentials, region
    /// and endpoint come from the usual `AWS_…` environment variables or from the instance, as object_store reads them.
    /// A bucket is not asked for anything yet.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        Self::open_with(url, &[])
    }

    /// The same; `s3_options` (object_store's keys, such as `aws_endpoint`) win over the environment's.
    pub fn open_with(url: &str, s3_options: &[(&str, &str)]) -> Result<Self, StoreError> {
        let wrong = |reason: String| StoreError::Url { got: url.to_owned(), reason };
        let parsed = Url::parse(url).map_err(|e| wrong(e.to_string()))?;
        match parsed.scheme() {
            "file" => {
                let folder =
                    parsed.to_file_path().map_err(|()| wrong("the path must be absolute, on this host".to_owned()))?;
                Self::open_folder(url, folder)
            }
            "s3" => Self::open_bucket(url, &parsed, s3_options),
            other => Err(wrong(format!("unknown scheme {other:?}"))),
        }
    }

    fn open_folder(url: &str, folder: PathBuf) -> Result<Self, StoreError> {
        let name = folder.display().to_string();
        std::fs::create_dir_all(&folder).map_err(|e| StoreError::failed("open", &name, url, &e))?;
        let objects =
            LocalFileSystem::new_with_prefix(&folder).map_err(|e| StoreError::failed("open", &name, url, &e))?;
        // Flushed before the rename: a pointer never names bytes that a power cut can take away.
        let objects = Arc::new(objects.with_fsync(true));
        Ok(Self { objects, prefix: Path::default(), folder: Some(folder), url: url.to_owned(), pointers: None })
    }

    fn open_bucket(url: &str, parsed: &Url, options: &[(&str, &str)]) -> Result<Self, StoreError> {
        let wrong = |reason: String| StoreError::Url { got: url.to_owned(), reason };
        install_crypto_provider();
        let bucket = parsed.host_str().ok_or_else(|| wrong("the bucket is missing".to_owned()))?;
        let prefix = Path::from_url_path(parsed.path()).map_err(|e| wrong(e.to_string()))?;
        // The library's retries go on for three minutes; a person at a shell and a scoring server both want to know earlier.
        let retries = RetryConfig { max_retries: 4, retry_timeout: Duration::from_secs(30), ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_retry(retries)
            .with_http_connector(PatientConnector);
        for (key, value) in options {
            let key: AmazonS3ConfigKey =
                key.parse().map_err(|e: object_store::Error| wrong(format!("option {key}: {e}")))?;
            builder = builder.with_config(key, *value);
        }
        let plain_http =
            builder.get_config_value(&AmazonS3ConfigKey::Endpoint).is_some_and(|e| e.starts_with("http://"));
        let client = ClientOptions::new()
            .with_timeout(Duration::from_secs(60))
            .with_connect_timeout(Duration::from_secs(5))
            .with_allow_http(plain_http);
        let objects = builder.with_client_options(client).build().map_err(|e| wrong(one_line(&e)))?;
        Ok(Self { objects: Arc::new(objects), prefix, folder: None, url: url.to_owned(), pointers: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_names_no_store_is_refused() {
        for url in ["", "data", "http://x/y", "file://host/x", "s3://"] {
            assert!(matches!(Store::open(url), Err(StoreError::Url { .. })), "{url:?} must be refused");
        }
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_unreachable() {
        let options = [
            ("aws_endpoint", "http://127.0.0.1:9"),
            ("aws_access_key_id", "x"),
            ("aws_secret_access_key", "x"),
            ("aws_region", "us-east-1"),
        ];
        let store = Store::open_with("s3://bucket/prefix", &options).unwrap();
        let error = store.get("a", 1).await.unwrap_err();
        assert!(error.is_unreachable(), "{error}");
    }
}
