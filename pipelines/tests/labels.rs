//! Labels from the shell: one, many, of a miss and of a span, taken back and given back, and all of them as a file that
//! pandas reads.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test panics to fail and says why it skips")]

mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{forewarn, run};

/// A configuration whose state somebody served from.
fn served(dir: &Path) -> PathBuf {
    let (state, config) = (dir.join("served.db"), dir.join("forewarn.toml"));
    std::fs::write(&state, "").unwrap();
    std::fs::write(&config, format!("[store]\nstate = \"sqlite://{}\"\n", state.display())).unwrap();
    config
}

#[test]
fn what_was_missed_and_what_was_said_in_a_span_are_labelled_from_the_shell() {
    let dir = tempfile::tempdir().unwrap();
    let config = served(dir.path());
    let label = |arguments: &[&str], code: i32| {
        run(&[&["label", "--json", "--who", "anna"], arguments].concat(), Some(&config)).expect_code(code)
    };
    let missed = ["missed", "--service", "cart", "--kind", "oom", "--at", "2026-01-08T14:20:00Z", "--note", "paged"];
    let missed = label(&missed, 0).json();
    assert_eq!(
        missed["subject"],
        json!({"of": "breach", "service": "cart", "kind": "oom", "at": "2026-01-08T14:20:00Z"})
    );
    assert_eq!(
        (&missed["who"], &missed["note"], &missed["source"]),
        (&json!("anna"), &json!("paged"), &json!("shell"))
    );
    let span = ["false_positive", "--service", "cart", "--from", "1767830400", "--to", "1767837600"];
    let span = label(&span, 0).json();
    assert_eq!((&span["subject"]["of"], &span["subject"]["kind"]), (&json!("span"), &Value::Null));

    let id = span["id"].as_str().unwrap();
    assert_eq!(label(&["--undo", id], 0).json()["taken_back"], 1);
    let again = label(&["--undo", id], 1);
    assert!(again.stderr.contains("or it is taken back already"), "{again}");
    assert_eq!(label(&["--redo", id], 0).json()["given_back"], 1);
    for (wrong, code, says) in [
        (&["maybe"][..], 2, "the last word must be a verdict"),
        (&["p-1", "r-1", "maybe"], 2, "the last word must be a verdict"),
        (&["p-1", "missed"], 2, "cannot be missed"),
        (&["unclear"], 2, "a label must have either"),
        (&["p-1", "unclear", "--service", "cart"], 2, "give ids or --service"),
        (&["unclear", "--service", "cart", "--from", "2", "--to", "1"], 2, "from must be before to"),
        (&["missed", "--service", "cart", "--kind", "ooom", "--at", "1"], 2, "ooom"),
        (&["--undo", "f-1", "unclear"], 2, "cannot be used with"),
        (&[], 2, "required"),
        (&["p-none", "unclear"], 1, "no prediction with id p-none"),
        (&["r-none", "unclear"], 1, "no request with id r-none"),
    ] {
        let said = label(wrong, code);
        assert!(said.stderr.contains(says), "{wrong:?}: {said}");
    }
}

#[test]
fn many_labels_come_from_a_file_or_from_standard_input_all_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let (config, file) = (served(dir.path()), dir.path().join("labels.jsonl"));
    let line = |n: i64| json!({"service": "cart", "kind": "oom", "at": 1_767_225_600 + n, "verdict": "missed"});
    let lines: String = (0..20).map(|n| format!("{}\n", line(n))).collect();
    std::fs::write(&file, &lines).unwrap();
    let path = file.display().to_string();
    let said = run(&["label", "--file", &path], Some(&config)).expect_code(0);
    assert_eq!(said.stdout.lines().count(), 20, "{said}");
    std::fs::write(&file, format!("{lines}{{\"verdict\": \"unclear\"}}\n")).unwrap();
    let wrong = run(&["label", "--file", &path], Some(&config)).expect_code(2);
    assert!(wrong.stderr.contains("label 21: a label must have either"), "{wrong}");

    let mut command = forewarn();
    command.args(["label", "--json", "--file", "-", "--config"]).arg(&config);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(line(100).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["labels"].as_array().unwrap().len(), 1, "{said}");

    // And all of them leave as one file.
    let out = dir.path().join("labels.parquet");
    let export = ["labels", "export", "--json", "--out", &out.display().to_string()];
    let said = run(&export, Some(&config)).expect_code(0).json();
    assert_eq!((&said["labels"], &said["settlements"], &said["format_version"]), (&json!(21), &json!(0), &json!(1)));
    let later = run(&[&export[..], &["--since", "2100-01-01T00:00:00Z"]].concat(), Some(&config)).expect_code(0);
    assert_eq!(later.json()["labels"], 0);
    run(&export, Some(&config)).expect_code(0);

    // A link stays one, and a full disk loses nothing; a device is no file to be replaced.
    let link = dir.path().join("link.parquet");
    std::os::unix::fs::symlink(&out, &link).unwrap();
    run(&["labels", "export", "--out", &link.display().to_string()], Some(&config)).expect_code(0);
    assert!(link.is_symlink() && out.is_file());
    if Path::new("/dev/full").exists() {
        let said = run(&["labels", "export", "--out", "/dev/full"], Some(&config)).expect_code(6);
        assert!(said.stderr.contains("cannot write /dev/full"), "{said}");
        assert!(!Path::new("/dev/full").is_file(), "the device is still one");
    } else {
        eprintln!("skipped: there is no /dev/full");
    }
    if !Command::new("python3").args(["-c", "import pandas, pyarrow"]).output().is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: python3 with pandas and pyarrow is not installed");
        return;
    }
    let program = "import sys, pandas; r = pandas.read_parquet(sys.argv[1]); \
                   print(len(r), sorted(set(r['verdict'])), sorted(set(r['judge'])), r['outweighed_by'].isna().all(), r['at'].min())";
    let read = Command::new("python3").args(["-c", program]).arg(&out).output().unwrap();
    let said = String::from_utf8_lossy(&read.stdout).into_owned();
    assert_eq!(
        said,
        "21 ['missed'] ['label'] True 2026-01-01 00:00:00+00:00\n",
        "{}",
        String::from_utf8_lossy(&read.stderr)
    );
}
