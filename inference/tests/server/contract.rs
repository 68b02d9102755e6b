//! The interface as it is described: answers of a live server hold to the schemas of `/api/v1/openapi.json`, and
//! schemathesis, which makes up requests from the document, finds nothing that it does not describe.

use std::process::Command;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::rig::{Rig, START, start};

/// With a prediction that is live, a request, a label, a model and a report, so that there is something to describe.
async fn lived_in(folder: &std::path::Path) -> (Rig, Vec<(&'static str, String)>) {
    let registry =
        forewarn_models::ModelRegistry::open(&format!("file://{}", folder.join("store").display())).await.unwrap();
    registry.publish(&crate::bundles::bundle("cart", 1, 7)).await.unwrap();
    let rig = start(folder, |_| {}).await;
    let request = rig.leak_until_request(START).await;
    let prediction = request["prediction_id"].as_str().unwrap().to_owned();
    let label = json!({"prediction_id": prediction, "verdict": "true_positive", "note": "seen"});
    assert_eq!(rig.post("/api/v1/feedback", label).await.0, StatusCode::CREATED);
    let breach = json!({"service": "cart", "kind": "oom", "at": "2026-01-01T00:00:00Z", "verdict": "missed"});
    assert_eq!(rig.post("/api/v1/feedback", breach).await.0, StatusCode::CREATED);
    let live = rig.get("/api/v1/predictions").await.1[0]["id"].as_str().unwrap().to_owned();
    (rig, vec![("/api/v1/predictions/{id}", live), ("/api/v1/predictions/{id}", prediction)])
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_as_the_document_says() {
    let folder = tempfile::tempdir().unwrap();
    let (rig, known) = lived_in(folder.path()).await;
    let (_, document) = rig.get("/api/v1/openapi.json").await;
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let Some(get) = operations.get("get") else { continue };
        let schema = &get["responses"]["200"]["content"]["application/json"]["schema"];
        let mut concrete: Vec<String> =
            known.iter().filter(|(of, _)| of == path).map(|(of, id)| of.replace("{id}", id)).collect();
        if !path.contains('{') {
            concrete.push(path.clone());
        }
        for path in concrete {
            let (status, answer) = rig.get(&path).await;
            assert!(get["responses"].get(status.as_str()).is_some(), "GET {path} answered {status}: not described");
            if status == StatusCode::OK && !schema.is_null() {
                let mut faults = Vec::new();
                judge(&document, schema, &answer, &path, &mut faults);
                assert!(faults.is_empty(), "GET {path}: {faults:#?}");
                asked += 1;
            }
        }
    }
    assert!(asked >= 6, "only {asked} answers were looked at");
    // What is changed is described, too.
    let id = rig.get("/api/v1/requests").await.1[0]["id"].as_str().unwrap().to_owned();
    for (path, body) in [
        ("/api/v1/requests/{id}/approve", Value::Null),
        ("/api/v1/requests/{id}/outcome", json!({"outcome": "succeeded", "note": "gone"})),
    ] {
        let (status, answer) = rig.post(&path.replace("{id}", &id), body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let responses = &document["paths"][path]["post"]["responses"];
        let mut faults = Vec::new();
        judge(&document, &responses["200"]["content"]["application/json"]["schema"], &answer, path, &mut faults);
        assert!(faults.is_empty(), "POST {path}: {faults:#?}");
    }
    rig.stop().await;
}

/// The part of JSON Schema that the document uses, and one thing more: a member that is not described is a fault.
fn judge(document: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let resolved = |schema: &Value| match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap().clone(),
        None => schema.clone(),
    };
    let schema = resolved(schema);
    let mut fault = |text: String| faults.push(format!("{at}: {text}"));
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = choices.iter().filter(|choice| {
            let mut inner = Vec::new();
            judge(document, choice, value, at, &mut inner);
            inner.is_empty()
        });
        let fits = fits.count();
        if fits != 1 {
            fault(format!("{fits} of the choices fit {value}"));
        }
        return;
    }
    if let Some(constant) = schema.get("const")
        && constant != value
    {
        fault(format!("wanted {constant}, got {value}"));
    }
    if let Some(choices) = schema["enum"].as_array()
        && !choices.contains(value)
    {
        fault(format!("{value} is none of {choices:?}"));
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    };
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the test does not know the type {other}"),
    };
    if !types.is_empty() && !types.iter().any(|name| is(name)) {
        fault(format!("wanted {types:?}, got {value}"));
    }
    if schema["format"] == "date-time"
        && let Some(text) = value.as_str()
        && text.parse::<forewarn_schema::Timestamp>().is_err()
    {
        fault(format!("{text:?} is no time"));
    }
    for (name, is_out) in [("minimum", f64::lt as fn(&f64, &f64) -> bool), ("maximum", f64::gt)] {
        if let (Some(bound), Some(number)) = (schema[name].as_f64(), value.as_f64())
            && is_out(&number, &bound)
        {
            fault(format!("{number} is beyond the {name} {bound}"));
        }
    }
    if let Some(items) = value.as_array().filter(|_| schema.get("items").is_some()) {
        for (i, item) in items.iter().enumerate() {
            judge(document, &schema["items"], item, &format!("{at}[{i}]"), faults);
        }
    }
    let Some(members) = value.as_object() else { return };
    let mut properties = serde_json::Map::new();
    let mut required = Vec::new();
    let parts: Vec<Value> = schema["allOf"].as_array().into_iter().flatten().map(resolved).collect();
    for part in parts.iter().chain([&schema]) {
        properties.extend(part["properties"].as_object().cloned().unwrap_or_default());
        required.extend(part["required"].as_array().cloned().unwrap_or_default());
    }
    for name in required.iter().filter_map(Value::as_str) {
        if !members.contains_key(name) {
            faults.push(format!("{at}: {name} is missing"));
        }
    }
    for (name, member) in members {
        let at = format!("{at}.{name}");
        match properties.get(name).or(schema.get("additionalProperties").filter(|s| s.is_object())) {
            Some(schema) => judge(document, schema, member, &at, faults),
            // An object without any description is one that may hold anything.
            None if properties.is_empty() => {}
            None => faults.push(format!("{at} is not described")),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing_that_is_not_described() {
    if Command::new("schemathesis").arg("--version").output().is_err() {
        eprintln!("skipped: schemathesis is not installed (pip install, as scripts/python.sh does)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (rig, _) = lived_in(folder.path()).await;
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                  response_schema_conformance,unsupported_method,use_after_free";
    // It cannot make up protobuf; what is thrown at those is in the test below.
    let (_, described) = rig.get("/api/v1/openapi.json").await;
    let excluded: Vec<String> =
        binary(&described).into_iter().map(|(path, _)| format!("--exclude-path={path}")).collect();
    let document = format!("{}/api/v1/openapi.json", rig.base);
    let reports = folder.path().to_owned();
    let run = tokio::task::spawn_blocking(move || {
        Command::new("schemathesis")
            .args(["run", &document, "--checks", checks, "--max-examples", "25", "--seed", "1"])
            .args(["--suppress-health-check", "all", "--continue-on-failure", "--no-color", "--warnings", "off"])
            .args(excluded)
            .current_dir(reports)
            .output()
    });
    let output = run.await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    eprintln!("{}", said.lines().rev().take(12).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n"));
    // Whatever was asked of it, it still serves.
    assert_eq!(rig.get("/-/healthy").await.0, StatusCode::OK);
    rig.stop().await;
}

/// Operations whose body is not JSON: path and media type.
fn binary(document: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let content = operations["post"]["requestBody"]["content"].as_object();
        let kinds: Vec<&String> = content.into_iter().flatten().map(|(kind, _)| kind).collect();
        if !kinds.is_empty() && !kinds.iter().any(|kind| *kind == "application/json") {
            found.extend(kinds.into_iter().map(|kind| (path.clone(), kind.clone())));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_mean_nothing_are_answered_as_described() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |_| {}).await;
    let (_, document) = rig.get("/api/v1/openapi.json").await;
    let all = binary(&document);
    assert!(!all.is_empty(), "remote write is one");
    let mut noise: u64 = 7;
    for (path, kind) in all {
        for length in [0, 1, 7, 100, 4096] {
            let mut next = || {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (noise >> 56) as u8
            };
            let body: Vec<u8> = (0..length).map(|_| next()).collect();
            for encoding in ["snappy", "gzip", "identity", "nonsense"] {
                let request = rig.client.post(format!("{}{path}", rig.base)).header("content-type", &kind);
                let answer = request.header("content-encoding", encoding).body(body.clone()).send().await.unwrap();
                let status = answer.status();
                let described = document["paths"][&path]["post"]["responses"].get(status.as_str()).is_some();
                assert!(described, "{path} {kind} {encoding}, {length} bytes: {status} is not described");
            }
        }
    }
    rig.stop().await;
}
