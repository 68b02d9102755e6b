//! The weekly job: begun again after a kill it comes to the same models, one runs at a time, what is due is done once, and a
//! collector of lineage hears of every step.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
#![allow(clippy::print_stderr, reason = "a measurement says what it measured")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use forewarn_schema::Timestamp;
use forewarn_testkit::http::{self, Response, TinyServer};
use serde_json::{Value, json};
use support::fleet::{Random, candidates, serving, source, write_block};
use support::{Said, forewarn, run, write_config};

const KILLS: usize = 12;
const STEPS: [&str; 5] = ["pull", "train", "evaluate", "promote", "report"];

/// A store of its own beside the block, and its configuration.
fn fresh(root: &Path, name: &str, more: &str) -> (PathBuf, PathBuf) {
    let dir = root.join(name);
    std::fs::create_dir(&dir).unwrap();
    (write_config(&dir, &(source(&root.join("tsdb")) + more)), dir.join("store"))
}

fn spawn(config: &Path, arguments: &[&str]) -> Child {
    let mut command = forewarn();
    command.args(arguments).arg("--json").arg("--config").arg(config);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn record(store: &Path, id: &str) -> Option<Value> {
    let bytes = std::fs::read(store.join(format!("runs/{id}.json"))).ok()?;
    Some(serde_json::from_slice(&bytes).unwrap())
}

/// The step at which a run stands, as its record says.
fn stands_at(store: &Path, id: &str) -> String {
    let Some(record) = record(store, id) else { return "nothing".to_owned() };
    let last = record["steps"].as_array().unwrap().last().unwrap().clone();
    format!("{} {}", last["name"].as_str().unwrap(), last["outcome"].as_str().unwrap())
}

#[test]
fn a_run_that_is_killed_again_and_again_comes_to_the_same_models() {
    let root = tempfile::tempdir().unwrap();
    write_block(&root.path().join("tsdb"));
    let (config, calm) = fresh(root.path(), "calm", "");
    let began = Instant::now();
    let said = run(&["run", "--id", "weekly-1", "--json"], Some(&config)).expect_code(0).json();
    let took = began.elapsed();
    let wanted = (serving(&calm), candidates(&calm));
    assert!(wanted.1.len() > 3 && !wanted.0.is_empty(), "services and nodes were trained, and some promoted: {said}");
    assert_eq!(said["report"]["skipped"], "nobody has served from this state yet");

    let mut random = Random(7);
    let mut killed_at = Vec::new();
    let mut round = 0;
    while killed_at.len() < KILLS {
        round += 1;
        let (config, store) = fresh(root.path(), &format!("killed-{round}"), "");
        for _ in 0..6 {
            let mut child = spawn(&config, &["run", "--id", "weekly-1"]);
            std::thread::sleep(took.mul_f64(0.9 * random.next()));
            if child.try_wait().unwrap().is_some() {
                Said::from(child.wait_with_output().unwrap()).expect_code(0);
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            killed_at.push(stands_at(&store, "weekly-1"));
        }
        run(&["run", "--id", "weekly-1"], Some(&config)).expect_code(0);
        assert_eq!((serving(&store), candidates(&store)), wanted, "killed at {killed_at:?}");
        let record = record(&store, "weekly-1").unwrap();
        let steps = record["steps"].as_array().unwrap();
        assert!(steps.iter().map(|step| &step["name"]).eq(&STEPS.map(Value::from)), "each step once: {record}");
        assert!(steps.iter().all(|step| step["outcome"] == "done") && record["finished_at"].is_string());
    }
    eprintln!("a run of {took:.1?}, killed {} times in {round} rounds: {killed_at:?}", killed_at.len());

    // Done, it is not done again.
    let again = run(&["run", "--id", "weekly-1", "--json"], Some(&config)).expect_code(0).json();
    assert_eq!(again["train"], said["train"]);
    let listed = run(&["runs", "--json"], Some(&config)).expect_code(0).json();
    let steps = listed["runs"][0]["steps"].as_array().unwrap();
    assert!(steps.iter().any(|step| step["cpu_seconds"].as_f64().is_some_and(|s| s > 0.0)), "{listed}");
    let text = run(&["runs"], Some(&config)).expect_code(0).stdout;
    assert!(text.starts_with("weekly-1  done") && text.contains("promote"), "{text}");
}

#[test]
fn of_two_runners_one_runs_and_what_is_done_is_not_due() {
    let root = tempfile::tempdir().unwrap();
    write_block(&root.path().join("tsdb"));
    let (config, store) = fresh(root.path(), "shared", "");
    let runners = [(); 2].map(|()| spawn(&config, &["schedule", "--once"]));
    let said = runners.map(|child| Said::from(child.wait_with_output().unwrap()).expect_code(0).json());
    let ran = said.iter().filter(|said| said["ran"] == true).count();
    assert_eq!(ran, 1, "{said:?}");
    let after = run(&["schedule", "--once", "--json"], Some(&config)).expect_code(0).json();
    assert_eq!(after["ran"], false);
    assert!(after["next"].as_str().unwrap().ends_with("T03:00:00Z"), "{after}");
    let records = std::fs::read_dir(store.join("runs")).unwrap();
    let names: Vec<String> = records.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(
        names.iter().filter(|n| n.ends_with("T030000Z.json")).count(),
        1,
        "one run of one scheduled time: {names:?}"
    );

    // A long-running one does nothing more, and ends when it is told to.
    let mut waiting = spawn(&config, &["schedule"]);
    std::thread::sleep(Duration::from_secs(2));
    assert!(waiting.try_wait().unwrap().is_none(), "it waits");
    let told = Command::new("kill").args(["-TERM", &waiting.id().to_string()]).status().unwrap();
    assert!(told.success());
    Said::from(waiting.wait_with_output().unwrap()).expect_code(0);
}

/// What the manifests of all candidates say was left out.
fn left_out(store: &Path) -> Vec<(String, Value)> {
    let candidates = candidates(store).into_iter();
    candidates
        .map(|(service, (_, files))| {
            let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
            (service, manifest["quality"]["left_out"].clone())
        })
        .collect()
}

#[test]
fn maintenance_and_silences_are_not_learnt_from_and_leave_no_trace_when_they_are_gone() {
    let root = tempfile::tempdir().unwrap();
    write_block(&root.path().join("tsdb"));
    let (config, store) = fresh(root.path(), "known", "");
    run(&["pull"], Some(&config)).expect_code(0);
    run(&["train"], Some(&config)).expect_code(0);
    let before = candidates(&store);
    let without = std::fs::read_to_string(&config).unwrap();
    let service = before.keys().next().unwrap();
    let windows = format!(
        "[[requests.maintenance]]\nweekly = \"Mon 10:00-12:00\"\n\
         [[requests.maintenance]]\nservice = \"{service}\"\nfrom = \"2026-01-06T00:00:00Z\"\nto = \"2026-01-06T01:00:00Z\"\n"
    );
    std::fs::write(&config, format!("{without}{windows}")).unwrap();
    run(&["train"], Some(&config)).expect_code(0);
    for (name, said) in left_out(&store) {
        let hours = if name == *service { 3.0 } else { 2.0 };
        assert_eq!(said["maintenance"]["hours"], hours, "{name}: {said}");
        assert_ne!(candidates(&store)[&name].0, before[&name].0);
    }
    std::fs::write(&config, &without).unwrap();
    run(&["train"], Some(&config)).expect_code(0);
    assert_eq!(candidates(&store), before);
    assert!(left_out(&store).iter().all(|(_, said)| said.is_null()));

    // What people say is in the state database: a silence that began long ago, a breach that was missed, another that was taken back.
    let serving = support::Serving::start(&config, forewarn_testkit::servers::spare_port().unwrap());
    let post = |path: &str, body: Value| -> Value {
        let headers = [("content-type", "application/json")];
        let said = http::post(&format!("{}{path}", serving.url), &headers, body.to_string().as_bytes()).unwrap();
        assert!(said.status < 300, "{path}: {} {}", said.status, said.body_text());
        serde_json::from_slice(&said.body).unwrap()
    };
    let soon = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 + 3600;
    let missed = |at: &str| json!({"service": service, "kind": "oom", "at": at, "verdict": "missed"});
    let label = post("/api/v1/feedback", missed("2026-01-06T03:00:00Z"));
    let silence = json!({"service": service, "from": "2026-01-06T12:00:00Z", "until": Timestamp::from_seconds(soon)});
    let silence = post("/api/v1/silences", silence);
    let take_back = |path: String| assert!(http::send("DELETE", &path, &[], &[]).unwrap().status < 300);
    run(&["train"], Some(&config)).expect_code(0);
    let said: BTreeMap<String, Value> = left_out(&store).into_iter().collect();
    assert_eq!((said[service]["missed"].as_u64(), said[service]["labelled"]["hours"].as_f64()), (Some(1), Some(2.5)));
    assert_eq!(said[service]["maintenance"]["hours"], 6.0, "of the silence what the training window has");
    assert!(said.values().all(|of| of["digest"] == said[service]["digest"] && of["digest"].is_string()));
    take_back(format!("{}/api/v1/feedback/{}", serving.url, label["id"].as_str().unwrap()));
    run(&["train"], Some(&config)).expect_code(0);
    assert!(left_out(&store).iter().all(|(_, said)| said["missed"] != 1));
    assert!(silence["id"].is_string());
}

#[test]
fn a_server_runs_the_schedule_where_it_is_asked_to() {
    let root = tempfile::tempdir().unwrap();
    write_block(&root.path().join("tsdb"));
    let (config, store) = fresh(root.path(), "served", "in_server = true\njitter = \"0s\"\n");
    let serving = support::Serving::start(&config, forewarn_testkit::servers::spare_port().unwrap());
    let until = Instant::now() + Duration::from_secs(120);
    while !store.join("runs/last-done.json").exists() {
        assert!(Instant::now() < until, "nothing was run");
        std::thread::sleep(Duration::from_millis(200));
    }
    // What it did is seen on its metrics, within half a minute.
    let metrics = || http::get(&format!("{}/metrics", serving.url)).unwrap().body_text();
    while !metrics().contains("\nforewarn_last_run_age_seconds ") {
        assert!(Instant::now() < until, "{}", metrics());
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(serving.get("/api/v1/models").as_array().map(|models| models.len() > 3), Some(true));
}

/// What OpenLineage 2-0-2 asks of an event of a run, in JSON Schema: written from the specification, for the facets that are sent.
fn event_schema() -> Value {
    let facet = |more: Value, required: &[&str]| {
        let mut properties = json!({"_producer": {"type": "string", "format": "uri"}, "_schemaURL": {"type": "string", "format": "uri"}});
        properties.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let required: Vec<&str> = ["_producer", "_schemaURL"].iter().chain(required).copied().collect();
        json!({"type": "object", "properties": properties, "required": required})
    };
    let uuid = json!({"type": "string", "format": "uuid"});
    let job = json!({
        "type": "object",
        "properties": {"namespace": {"type": "string"}, "name": {"type": "string"}},
        "required": ["namespace", "name"],
    });
    let parent = facet(
        json!({"run": {"type": "object", "properties": {"runId": uuid}, "required": ["runId"]}, "job": job}),
        &["run", "job"],
    );
    let nominal = facet(json!({"nominalStartTime": {"type": "string", "format": "date-time"}}), &["nominalStartTime"]);
    let failed = facet(
        json!({"message": {"type": "string"}, "programmingLanguage": {"type": "string"}}),
        &["message", "programmingLanguage"],
    );
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "eventTime": {"type": "string", "format": "date-time"},
            "producer": {"type": "string", "format": "uri"},
            "schemaURL": {"type": "string", "format": "uri"},
            "eventType": {"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
            "run": {
                "type": "object",
                "properties": {
                    "runId": uuid,
                    "facets": {"properties": {"parent": parent, "nominalTime": nominal, "errorMessage": failed}},
                },
                "required": ["runId"],
            },
            "job": job,
            "inputs": {"type": "array", "items": job},
            "outputs": {"type": "array", "items": job},
        },
        "required": ["eventTime", "producer", "schemaURL", "run", "job"],
    })
}

/// Checks every line against the schema with Python's jsonschema; says so where that is not installed.
fn validate(dir: &Path, events: &Path) {
    let schema = dir.join("schema.json");
    std::fs::write(&schema, event_schema().to_string()).unwrap();
    let program = "import json, sys\n\
                   from jsonschema import Draft202012Validator as V\n\
                   v = V(json.load(open(sys.argv[1])), format_checker=V.FORMAT_CHECKER)\n\
                   for line in open(sys.argv[2]): v.validate(json.loads(line))\n";
    let has = Command::new("python3").args(["-c", "import jsonschema"]).status().is_ok_and(|s| s.success());
    if !has {
        eprintln!("skipped: python3 with jsonschema is not installed");
        return;
    }
    let checked = Command::new("python3").args(["-c", program]).arg(&schema).arg(events).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn a_collector_of_lineage_hears_of_every_step_and_its_absence_fails_nothing() {
    let root = tempfile::tempdir().unwrap();
    write_block(&root.path().join("tsdb"));
    let heard: Arc<Mutex<Vec<Value>>> = Arc::default();
    let into = Arc::clone(&heard);
    let collector = TinyServer::start(move |request| {
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/api/v1/lineage"));
        assert_eq!(request.header("authorization"), Some("Bearer let-me-in"));
        into.lock().unwrap().push(serde_json::from_slice(&request.body).unwrap());
        Response::status(201)
    })
    .unwrap();
    let lineage = |url: &str| {
        format!(
            "[train.openlineage]\nurl = \"{url}\"\ntoken = \"let-me-in\"\nfile = \"lineage.jsonl\"\nnamespace = \"prod\"\n"
        )
    };
    let url = format!("http://{}/api/v1/lineage", collector.addr());
    let (config, _) = fresh(root.path(), "told", &lineage(&url));
    run(&["run", "--id", "weekly-1"], Some(&config)).expect_code(0);
    let events = heard.lock().unwrap().clone();
    let file = root.path().join("told/lineage.jsonl");
    let written: Vec<Value> =
        std::fs::read_to_string(&file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events, written, "the collector and the file are told the same");
    validate(root.path(), &file);
    let told: Vec<String> = events
        .iter()
        .map(|e| format!("{} {}", e["job"]["name"].as_str().unwrap(), e["eventType"].as_str().unwrap()))
        .collect();
    let wanted: Vec<String> =
        STEPS.iter().flat_map(|step| ["START", "COMPLETE"].map(|kind| format!("forewarn.run.{step} {kind}"))).collect();
    assert_eq!(told, wanted);
    for both in events.chunks(2) {
        assert_eq!(both[0]["run"]["runId"], both[1]["run"]["runId"], "a run begins once and ends once");
        assert_eq!(both[0]["run"]["facets"]["parent"]["run"], events[0]["run"]["facets"]["parent"]["run"]);
    }
    assert!(
        events[0]["inputs"][0]["name"] == "shop"
            && events[0]["outputs"][0]["name"].as_str().unwrap().ends_with("store/dataset")
    );

    // Nobody listens there, and a step that fails says why.
    let dead = forewarn_testkit::servers::spare_port().unwrap();
    let more = lineage(&format!("http://127.0.0.1:{dead}/"));
    let (config, store) = fresh(root.path(), "deaf", &more);
    run(&["run", "--id", "weekly-1"], Some(&config)).expect_code(0);
    assert!(!serving(&store).is_empty() || !candidates(&store).is_empty());
    let (config, store) = fresh(root.path(), "failing", &more);
    std::fs::write(&config, std::fs::read_to_string(&config).unwrap().replace("/tsdb\"", "/nothing-here\"")).unwrap();
    let failed = run(&["run", "--id", "weekly-1"], Some(&config));
    assert_ne!(failed.code, 0, "{failed}");
    assert_eq!(stands_at(&store, "weekly-1"), "pull failed");
    let file = root.path().join("failing/lineage.jsonl");
    validate(root.path(), &file);
    let last = std::fs::read_to_string(&file).unwrap().lines().last().unwrap().to_owned();
    let last: Value = serde_json::from_str(&last).unwrap();
    assert_eq!(last["eventType"], "FAIL");
    assert!(last["run"]["facets"]["errorMessage"]["message"].as_str().is_some_and(|m| !m.is_empty()), "{last}");
}
