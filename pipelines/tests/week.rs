//! The weekly report of what the demo left behind: its figures are those of the records, and written again it is the same.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod support;

use std::path::Path;

use support::run;

/// The demo's story happens in this week.
const WEEK: [&str; 4] = ["--from", "2026-01-13T00:00:00Z", "--to", "2026-01-20T00:00:00Z"];

#[test]
fn the_week_of_the_demo_says_what_its_records_say() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("demo");
    let config = config(folder.path(), &store);
    let of_demo = ["demo", "--once", "--json", "--listen", "127.0.0.1:0", "--dir", store.to_str().unwrap()];
    let demo = run(&of_demo, None).expect_code(0).json();

    let out = folder.path().join("out");
    let report = |more: &[&str]| run(&[&["--json", "report"], &WEEK[..], more].concat(), Some(&config)).expect_code(0);
    let said = report(&["--out", out.to_str().unwrap()]).json();
    assert_eq!(said["report"], "20260120T000000Z-week");
    let figures = &said["figures"];
    assert_eq!((&figures["requests"], &figures["right"], &figures["false_alarms"]), (&1.into(), &1.into(), &0.into()));
    assert_eq!((&figures["labels"], &figures["announced"], &figures["recall"]), (&1.into(), &1.into(), &1.0.into()));

    let files = ["week.html", "week.md", "week.json"].map(|name| std::fs::read_to_string(out.join(name)).unwrap());
    let week: serde_json::Value = serde_json::from_str(&files[2]).unwrap();
    assert_eq!(week["announced"][0]["id"], demo["live"]["request"]["id"]);
    assert_eq!(week["announced"][0]["judge"], "label");
    assert_eq!(week["before"]["requests"], 0);
    assert!(files[0].contains("<svg") || files[0].contains("Nothing: no breach was missed"));
    let kept = store.join("reports/20260120T000000Z-week");
    for (name, text) in ["week.html", "week.md", "week.json"].iter().zip(&files) {
        assert_eq!(std::fs::read_to_string(kept.join(name)).unwrap(), *text, "{name} in the store");
    }
    report(&[]);
    assert_eq!(std::fs::read_to_string(kept.join("week.json")).unwrap(), files[2], "written again it is the same");

    // Models came to serve by the clock of the machine, not by that of the story.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let (from, to) = ((now - 3600).to_string(), (now + 3600).to_string());
    let today = ["report", "--from", &from, "--to", &to, "--out", out.to_str().unwrap()];
    run(&today, Some(&config)).expect_code(0);
    let today: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("week.json")).unwrap()).unwrap();
    let promotions = today["promotions"].as_array().unwrap();
    let passed = today["models"].as_array().unwrap().iter().filter(|m| m["passed"] == true).count();
    assert_eq!(promotions.len(), passed, "{promotions:?}");
    assert!(promotions.iter().all(|p| p["detail"].as_str().unwrap().contains("pinball loss")), "why: {promotions:?}");

    // Whoever looks for the newest evaluation passes the week by.
    let promoted = run(&["--json", "promote"], Some(&config));
    assert!(promoted.code == 0 || promoted.stderr.contains("no candidate"), "{promoted}");

    let backwards = ["report", "--from", WEEK[3], "--to", WEEK[1]];
    let refused = run(&backwards, Some(&config)).expect_code(2);
    assert!(refused.stderr.contains("--from must lie before --to"), "{refused}");
}

fn config(folder: &Path, store: &Path) -> std::path::PathBuf {
    let (path, store) = (folder.join("forewarn.toml"), store.display());
    let text = format!(
        "[store]\nurl = \"file://{store}\"\nstate = \"sqlite://{store}/state.db\"\n\
         [[source]]\nkind = \"prometheus\"\nurl = \"http://127.0.0.1:9\"\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}
