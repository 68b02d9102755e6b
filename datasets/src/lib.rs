//! History in, Parquet out: sources, the pull plan, the manifest, resuming
