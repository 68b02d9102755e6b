//! A configuration with blocks only: check says what a pull will bring, and a pull brings it, once.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
#![allow(clippy::print_stdout, reason = "a skipped part must be seen")]

mod support;

use std::path::Path;

use support::{run, write_config};

#[test]
fn a_folder_of_blocks_is_all_that_a_pull_needs() {
    let blocks = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/histories/1/tsdb"));
    let Ok(blocks) = blocks.canonicalize() else {
        println!("skipped: no {}", blocks.display());
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let source = format!(
        "[dataset]\nhistory = \"1d\"\n[[source]]\nname = \"bucket\"\nkind = \"blocks\"\nurl = \"file://{}\"\n\
         series = ['traces_service_graph_request_total', '{{__name__=~\"process_.+\"}}']\nreplica_labels = [\"replica\"]\n",
        blocks.display()
    );
    let config = write_config(dir.path(), &source);
    let run = |arguments: &[&str], code| run(arguments, Some(&config)).expect_code(code);

    let checked = run(&["check", "--json"], 0).json();
    let source = &checked["sources"][0];
    assert_eq!(source["blocks"]["blocks"], 6, "{checked}");
    let expected = (source["blocks"]["raw_samples"].as_u64().unwrap(), source["blocks"]["raw_bytes"].as_u64().unwrap());
    assert!(source["targets"]["memory"].as_u64().unwrap() > 10, "{checked}");
    let text = run(&["check"], 0).stdout;
    assert!(text.contains("6 blocks") && text.contains("series are wanted"), "{text}");

    let pulled = run(&["pull", "--json"], 0).json();
    let (samples, steps) = (&pulled["sources"][0]["samples"], &pulled["sources"][0]["summary"]);
    let (rows, bytes) = (samples["rows"].as_u64().unwrap(), samples["bytes"].as_u64().unwrap());
    assert!(steps["rows"].as_u64().unwrap() > 100_000, "{pulled}");
    let within = |got: u64, expected: u64| expected as f64 / 1.5 < got as f64 && (got as f64) < expected as f64 * 1.5;
    assert!(within(rows, expected.0) && within(bytes, expected.1), "{rows} rows, {bytes} bytes, expected {expected:?}");

    let again = run(&["pull"], 0).stdout;
    assert!(again.contains("raw samples of 2 days: nothing new"), "{again}");
    let manifest = std::fs::read_to_string(dir.path().join("store/dataset/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let days = manifest["samples"]["bucket"].as_object().unwrap();
    assert_eq!(days.len(), 2);
    assert!(days.values().all(|day| day["missing"].as_array().unwrap().is_empty() && day["rows"].as_u64() > Some(0)));
    assert!(manifest["selections"].to_string().contains("process_.+"), "{}", manifest["selections"]);
}

#[test]
fn a_key_of_blocks_elsewhere_and_a_selector_that_is_none_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |source: &str, says: &str| {
        let said = run(&["check"], Some(&write_config(dir.path(), source))).expect_code(2);
        assert!(said.stderr.contains(says), "{said}");
    };
    let prometheus = "[[source]]\nkind = \"prometheus\"\nurl = \"http://x\"\nseries = [\"up\"]\n";
    refused(prometheus, "[source] series: is for raw samples; set fetch = \"auto\" beside it");
    let delay = "[[source]]\nkind = \"prometheus\"\nurl = \"http://x\"\nignore_delay = \"1h\"\n";
    refused(delay, "[source] ignore_delay: is for kind \"blocks\", this is \"prometheus\"");
    let blocks = "[[source]]\nkind = \"blocks\"\nurl = \"file:///tmp\"\nseries = [\"rate(up[5m])\"]\n";
    refused(blocks, "[source] series: wanted a selector such as");
    let nowhere = "[[source]]\nkind = \"blocks\"\nurl = \"file:///nonexistent/blocks\"\n";
    let said = run(&["check"], Some(&write_config(dir.path(), nowhere)));
    assert!(said.code != 0 && said.stderr.contains("url must be an existing folder"), "{said}");
}

#[test]
fn a_folder_without_blocks_is_said_to_be_empty_and_covers_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("tsdb");
    std::fs::create_dir(&folder).unwrap();
    let source = format!("[[source]]\nname = \"b\"\nkind = \"blocks\"\nurl = \"file://{}\"\n", folder.display());
    let said = run(&["pull"], Some(&write_config(dir.path(), &source))).expect_code(0);
    assert_eq!(said.stdout, "b: there is nothing in it yet\n", "{said}");
}
