//! What the shell sees: help, exit codes, and one clear line for each mistake.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
#![allow(clippy::print_stdout, reason = "a skipped part must be seen")]

mod support;

use std::fs;

use forewarn_testkit::servers;
use support::{Serving, forewarn, run, write_config};

#[test]
fn help_teaches_with_examples() {
    insta::assert_snapshot!("help", run(&["--help"], None).expect_code(0).stdout);
    for command in [
        "demo", "pull", "train", "evaluate", "promote", "run", "schedule", "runs", "backtest", "score", "serve",
        "label", "outbox",
    ] {
        let help = run(&[command, "--help"], None).expect_code(0).stdout;
        assert!(help.contains(&format!("forewarn {command}")) && help.contains("Examples:"), "{command}: {help}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_the_right_one() {
    let dir = tempfile::tempdir().unwrap();
    let config = write_config(dir.path(), "[requests]\nweekly_buget = 3\n");
    let said = run(&["check"], Some(&config)).expect_code(2);
    let expected =
        format!("forewarn: {}:4: unknown key \"weekly_buget\", did you mean \"weekly_budget\"?\n", config.display());
    assert_eq!(said.stderr, expected);
}

#[test]
fn bad_usage_exits_2() {
    run(&["pulll"], None).expect_code(2);
    run(&["train", "--until", "yesterday"], None).expect_code(2);
    run(&["label", "p-1", "maybe"], None).expect_code(2);
    let said = run(&["check", "--config", "/nonexistent/forewarn.toml"], None).expect_code(2);
    assert!(said.stderr.contains("/nonexistent/forewarn.toml"), "{said}");
}

#[test]
fn an_outbox_that_nobody_served_from_is_a_wrong_path_and_an_unknown_message_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("served.db");
    let config = dir.path().join("forewarn.toml");
    fs::write(&config, format!("[store]\nstate = \"sqlite://{}\"\n", state.display())).unwrap();
    let said = run(&["outbox"], Some(&config)).expect_code(1);
    assert!(said.stderr.contains("there is no state at"), "{said}");
    fs::write(&state, "").unwrap();
    assert_eq!(run(&["outbox"], Some(&config)).expect_code(0).stdout, "every message was delivered\n");
    let said = run(&["outbox", "resend", "r-none"], Some(&config)).expect_code(1);
    assert!(said.stderr.contains("no message with id r-none"), "{said}");
}

#[test]
fn an_unreachable_source_exits_3_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let port = servers::spare_port().unwrap();
    let source = format!(
        "[[source]]\nname = \"thanos\"\nkind = \"prometheus\"\nurl = \"http://127.0.0.1:{port}\"\nretries = 1\n"
    );
    let config = write_config(dir.path(), &source);
    for command in ["check", "pull"] {
        let said = run(&[command], Some(&config)).expect_code(3);
        assert!(said.stderr.contains("thanos") && said.stderr.contains(&port.to_string()), "{said}");
        assert_eq!(said.stderr.lines().filter(|l| l.starts_with("forewarn:")).count(), 1, "{said}");
    }
}

#[test]
fn logs_are_looked_at_by_check_and_counted_once_by_pull() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("fluent-bit");
    std::fs::create_dir(&logs).unwrap();
    let line = |second| {
        format!(
            r#"{{"date":"2026-01-02T10:00:{second:02}Z","log":"ERROR no stock","kubernetes":{{"labels":{{"app":"cart"}}}}}}"#
        )
    };
    let text: String = (0..10).map(|second| line(second) + "\n").collect();
    std::fs::write(logs.join("object"), text + "not json\n").unwrap();
    let source = format!("[[source]]\nkind = \"logs\"\nurl = \"file://{}\"\n", logs.display());
    let config = write_config(dir.path(), &source);
    let said = run(&["check"], Some(&config)).expect_code(0);
    assert!(said.stdout.contains("11 lines, 1 of which would not be counted, 1 services"), "{said}");
    assert!(said.stdout.contains("    cart\n"), "{said}");
    let said = run(&["pull"], Some(&config)).expect_code(0);
    assert!(said.stdout.contains("logs: 10 lines counted in 1 new objects"), "{said}");
    let said = run(&["pull"], Some(&config)).expect_code(0);
    assert!(said.stdout.contains("logs: no new objects"), "{said}");
}

#[test]
fn a_source_without_a_matching_series_is_said_so() {
    let Some(prometheus) = servers::prometheus("global: {scrape_interval: 1h}\n", None).unwrap() else { return };
    let dir = tempfile::tempdir().unwrap();
    let source = format!("[[source]]\nname = \"empty\"\nkind = \"prometheus\"\nurl = \"{}\"\n", prometheus.url());
    let config = write_config(dir.path(), &source);
    let said = run(&["check"], Some(&config)).expect_code(1);
    assert!(said.stderr.contains("source \"empty\" has no series for any signal"), "{said}");
}

#[test]
fn a_second_server_on_the_same_state_exits_5_and_the_first_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = write_config(dir.path(), "");
    let first = Serving::start(&config, servers::spare_port().unwrap());
    let second = servers::spare_port().unwrap();
    let said = run(&["serve", "--listen", &format!("127.0.0.1:{second}")], Some(&config)).expect_code(5);
    assert!(said.stderr.contains("state.db"), "{said}");
    assert!(first.get("/api/v1/predictions").is_array());
}

#[test]
fn a_full_disk_exits_6() {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("data.csv");
    fs::write(&input, format!("time,value\n{}", "1,2\n".repeat(10_000))).unwrap();
    if !std::path::Path::new("/dev/full").exists() {
        println!("skipped: there is no /dev/full");
        return;
    }
    let said = run(&["score", "--input", input.to_str().unwrap(), "--out", "/dev/full"], None).expect_code(6);
    assert!(said.stderr.contains("cannot write /dev/full"), "{said}");
}

#[test]
fn scores_come_one_a_row_and_a_mistake_names_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let (input, out) = (dir.path().join("in.csv"), dir.path().join("out.csv"));
    let mut text = "timestamp,value\n".to_owned();
    for i in 0..400 {
        text.push_str(&format!("{i},{}\n", if i == 350 { 99.0 } else { f64::from(i % 10) }));
    }
    fs::write(&input, &text).unwrap();
    let arguments = ["score", "--json", "--input", input.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let said = run(&arguments, None).expect_code(0);
    assert_eq!(said.json()["rows"], 400);
    assert_eq!(said.json()["highest"]["time"], "350");
    let scores = fs::read_to_string(&out).unwrap();
    assert_eq!(scores.lines().next(), Some("timestamp,anomaly_score"));
    assert_eq!(scores.lines().count(), 401);
    fs::write(&input, "timestamp,value\n0,1\n1,oops\n").unwrap();
    let said = run(&arguments, None).expect_code(1);
    assert!(said.stderr.contains("in.csv:3: column 2 (\"value\"): wanted a number, got \"oops\""), "{said}");
    fs::write(&input, "value,timestamp\n,0\n").unwrap();
    let said = run(&arguments, None).expect_code(1);
    assert!(said.stderr.contains("in.csv:2: column 1 (\"value\"): wanted a time"), "{said}");
    fs::write(&input, "").unwrap();
    let said = run(&arguments, None).expect_code(1);
    assert!(said.stderr.contains("wanted a header and rows, got an empty file"), "{said}");
    fs::write(&input, "timestamp,value\n").unwrap();
    assert_eq!(run(&arguments, None).expect_code(0).json()["rows"], 0);
    assert_eq!(fs::read_to_string(&out).unwrap(), "timestamp,anomaly_score\n");
}

#[test]
fn scores_of_the_first_rows_do_not_depend_on_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let (input, out) = (dir.path().join("in.csv"), dir.path().join("out.csv"));
    let rows: Vec<String> = (0..600)
        .map(|i| format!("2024-01-01 {:02}:{:02}:00,{},{}\n", i / 60, i % 60, i * 7 % 31, (i * i) % 17))
        .collect();
    for train in [&[][..], &["--train-rows", "300"]] {
        let scores = |rows: &[String]| {
            fs::write(&input, format!("time,a,b\n{}", rows.concat())).unwrap();
            let arguments = ["score", "--input", input.to_str().unwrap(), "--out", out.to_str().unwrap()];
            run(&[&arguments, train].concat(), None).expect_code(0);
            fs::read_to_string(&out).unwrap()
        };
        let (part, whole) = (scores(&rows[..450]), scores(&rows));
        assert_eq!(part.lines().count(), 451);
        assert!(whole.starts_with(&part));
    }
}

#[test]
fn json_errors_are_one_object_too() {
    let said = forewarn().args(["--json", "check", "--config", "/nonexistent.toml"]).output().unwrap();
    let object: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(object["exit_code"], 2);
}
