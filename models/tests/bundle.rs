//! A bundle as bytes: it comes back as it was, the same content has the same version, and no byte of it can change unseen.
#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod common;

use bytes::Bytes;
use forewarn_models::baselines::HORIZONS;
use forewarn_models::bundle::{
    Artifact, BundleError, ForecastModel, MANIFEST_FILE, ModelBundle, PARTS_FILE, TENSORS_FILE,
};
use forewarn_models::forecast_input::{FEATURES, LOOKBACK};
use proptest::prelude::*;

fn with_file(artifact: &Artifact, file: &str, bytes: impl Into<Bytes>) -> Artifact {
    let mut changed = artifact.clone();
    changed.files.insert(file.to_owned(), bytes.into());
    changed
}

#[test]
fn a_bundle_comes_back_and_the_same_content_has_the_same_bytes() {
    let bundle = common::bundle("checkout", 2, 7);
    let artifact = bundle.to_artifact().unwrap();
    let back = ModelBundle::from_artifact(&artifact).unwrap();
    assert_eq!(back.to_artifact().unwrap(), artifact, "written again, it has the same bytes");
    assert_eq!(
        common::bundle("checkout", 2, 7).to_artifact().unwrap(),
        artifact,
        "fitted again, it has the same bytes"
    );
    assert!(back.manifest.version.as_str().starts_with("20260103T000000Z-"), "{}", back.manifest.version);
    assert_eq!(bundle.sealed().unwrap().manifest, back.manifest);
    let row = vec![0.5; back.pipeline.names().len()];
    assert_eq!(back.forest.score(&row), common::bundle("checkout", 2, 7).forest.score(&row));
}

#[test]
fn an_lstm_travels_with_the_bundle_and_forecasts_the_same() {
    let mut bundle = common::bundle("checkout", 1, 7);
    bundle.lstm = Some(common::lstm(HORIZONS.to_vec()));
    bundle.forecast = ForecastModel::Lstm;
    let artifact = bundle.to_artifact().unwrap();
    let back = ModelBundle::from_artifact(&artifact).unwrap();
    assert_eq!(back.to_artifact().unwrap(), artifact);
    let window = vec![0.25; LOOKBACK * FEATURES];
    assert_eq!(back.lstm.unwrap().forecast(&window), bundle.lstm.as_ref().unwrap().forecast(&window));
    // One that forecasts something else than the scorer asks for is refused, not read wrongly.
    bundle.lstm = Some(common::lstm(vec![1, 2]));
    let error = ModelBundle::from_artifact(&bundle.to_artifact().unwrap()).unwrap_err();
    assert!(error.to_string().contains("got 60, 8 and [1, 2]"), "{error}");
}

#[test]
fn another_seed_or_other_data_is_another_version() {
    let version = |days, seed| common::bundle("checkout", days, seed).sealed().unwrap().manifest.version;
    assert_ne!(version(2, 7), version(2, 8));
    assert!(version(1, 7) < version(2, 7), "versions sort by the end of their data");
}

#[test]
fn a_changed_byte_in_any_file_is_refused_by_name() {
    let artifact = common::bundle("checkout", 1, 7).to_artifact().unwrap();
    for (file, bytes) in &artifact.files {
        for at in [0, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
            let mut corrupt = bytes.to_vec();
            corrupt[at] ^= 0x01;
            let error = ModelBundle::from_artifact(&with_file(&artifact, file, corrupt)).unwrap_err();
            assert!(error.to_string().contains(file.as_str()), "byte {at} of {file}: {error}");
        }
        let short = bytes.slice(..bytes.len() - 1);
        let error = ModelBundle::from_artifact(&with_file(&artifact, file, short)).unwrap_err();
        assert!(error.to_string().contains(file.as_str()), "shortened {file}: {error}");
        let mut without = artifact.clone();
        without.files.remove(file);
        assert_eq!(ModelBundle::from_artifact(&without).unwrap_err(), BundleError::Missing { file: file.clone() });
    }
}

#[test]
fn a_later_format_is_refused_before_anything_else_is_read() {
    let artifact = common::bundle("checkout", 1, 7).to_artifact().unwrap();
    let later = with_file(&artifact, MANIFEST_FILE, r#"{"format_version": 4, "shape": "unknown to us"}"#);
    let error = ModelBundle::from_artifact(&later).unwrap_err();
    assert_eq!(error.to_string(), "manifest.json: format_version must be 3, got 4");
}

#[test]
fn a_file_that_belongs_to_no_bundle_is_refused() {
    let artifact = common::bundle("checkout", 1, 7).to_artifact().unwrap();
    let error = ModelBundle::from_artifact(&with_file(&artifact, "model.pkl", "cos\nsystem\n")).unwrap_err();
    assert_eq!(error, BundleError::Unexpected { file: "model.pkl".to_owned() });
}

#[test]
fn parts_that_do_not_fit_together_are_refused() {
    let mut bundle = common::bundle("checkout", 1, 7);
    bundle.forecast = ForecastModel::Lstm;
    let artifact = bundle.to_artifact().unwrap();
    assert!(matches!(ModelBundle::from_artifact(&artifact), Err(BundleError::Inconsistent(_))));
    // A forest for wider rows than the pipeline makes would read past them.
    let mut bundle = common::bundle("checkout", 1, 7);
    let rows: Vec<f32> = (0..300).map(|i| i as f32).collect();
    let params = forewarn_models::isolation_forest::IsolationForestParams::default();
    bundle.forest = params.check().unwrap().fit(&rows, 3).unwrap();
    let error = ModelBundle::from_artifact(&bundle.to_artifact().unwrap()).unwrap_err();
    assert!(error.to_string().contains("must take the pipeline's 2 features, got 3"), "{error}");
}

/// A bundle whose manifest is honest about hostile bytes: what an attacker with write access would store.
fn sealed_over(parts: Bytes, tensors: Bytes) -> Artifact {
    use sha2::{Digest, Sha256};
    let hex = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>();
    let artifact = common::bundle("checkout", 1, 7).to_artifact().unwrap();
    let mut manifest = artifact.checked_manifest().unwrap();
    for (file, bytes) in [(PARTS_FILE, &parts), (TENSORS_FILE, &tensors)] {
        let entry = manifest.files.get_mut(file).unwrap();
        (entry.sha256, entry.bytes) = (hex(bytes), bytes.len() as u64);
    }
    let blank = {
        let mut blank = manifest.clone();
        blank.version = forewarn_models::ModelVersion::unsealed();
        blank.digest = String::new();
        blank
    };
    manifest.digest = hex(&blank.to_bytes().unwrap());
    manifest.version = format!("20260102T000000Z-{}", &manifest.digest[..8]).parse().unwrap();
    let manifest = Bytes::from(manifest.to_bytes().unwrap());
    let files = [(MANIFEST_FILE, manifest), (PARTS_FILE, parts), (TENSORS_FILE, tensors)];
    Artifact { files: files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_manifests_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let files = [(MANIFEST_FILE.to_owned(), Bytes::from(bytes))].into();
        let read = ModelBundle::from_artifact(&Artifact { files });
        prop_assert!(read.is_err());
    }

    #[test]
    fn arbitrary_parts_and_tensors_under_an_honest_manifest_never_panic(
        parts in proptest::collection::vec(any::<u8>(), 0..300),
        tensors in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        prop_assert!(ModelBundle::from_artifact(&sealed_over(parts.into(), tensors.into())).is_err());
    }

    /// Most changes of a number keep JSON and safetensors readable: each part's own reader has to hold.
    #[test]
    fn changed_bytes_under_an_honest_manifest_never_panic(
        changes in proptest::collection::vec((any::<bool>(), any::<proptest::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let artifact = common::bundle("checkout", 1, 7).to_artifact().unwrap();
        let mut parts = artifact.files[PARTS_FILE].to_vec();
        let mut tensors = artifact.files[TENSORS_FILE].to_vec();
        for (in_parts, at, value) in changes {
            let file = if in_parts { &mut parts } else { &mut tensors };
            let at = at.index(file.len());
            // In JSON a digit for a digit, so that the change is not only a syntax error.
            file[at] = if in_parts && file[at].is_ascii_digit() { b'0' + value % 10 } else { value };
        }
        if let Ok(bundle) = ModelBundle::from_artifact(&sealed_over(parts.into(), tensors.into())) {
            // What was let in must also be usable.
            let row = vec![0.5; bundle.pipeline.names().len()];
            let _ = bundle.forest.score(&row);
            let _ = bundle.forest.explain(&row);
        }
    }
}
