//! `deploy/kubernetes/` as it ships: valid by the schemas of Kubernetes, locked down, of commands and a configuration that this binary
//! takes. No cluster runs here.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
#![allow(clippy::print_stderr, reason = "a test says why it skips")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::forewarn;

const FILES: [&str; 4] = ["config.yaml", "weekly.yaml", "fleet.yaml", "serving.yaml"];

fn shipped(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes").join(file)
}

/// Every object of every file; `None`, with the reason printed, where nothing here reads YAML.
fn objects() -> Option<Vec<Value>> {
    let program = "import json, sys, yaml\n\
                   print(json.dumps([o for f in sys.argv[1:] for o in yaml.safe_load_all(open(f))]))\n";
    let read = Command::new("python3").args(["-c", program]).args(FILES.map(shipped)).output().ok()?;
    if !read.status.success() {
        eprintln!("skipped: python3 with PyYAML is not installed: {}", String::from_utf8_lossy(&read.stderr));
        return None;
    }
    Some(serde_json::from_slice(&read.stdout).unwrap())
}

/// The template of the pods that an object makes, where it makes any.
fn pod(object: &Value) -> Option<&Value> {
    let spec = match object["kind"].as_str()? {
        "CronJob" => &object["spec"]["jobTemplate"]["spec"]["template"]["spec"],
        "Job" | "StatefulSet" => &object["spec"]["template"]["spec"],
        _ => return None,
    };
    Some(spec)
}

#[test]
fn every_manifest_is_valid_by_the_schemas_of_kubernetes() {
    let Ok(run) = Command::new("kubernetes-validate").arg("--strict").args(FILES.map(shipped)).output() else {
        eprintln!("skipped: kubernetes-validate is not installed (pip install kubernetes-validate)");
        return;
    };
    let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
}

#[test]
fn pods_may_do_nothing_that_they_need_not() {
    let Some(objects) = objects() else { return };
    let pods: Vec<&Value> = objects.iter().filter_map(pod).collect();
    assert_eq!(pods.len(), 4);
    for pod in pods {
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(pod["automountServiceAccountToken"], false);
        for container in pod["containers"].as_array().unwrap() {
            let security = &container["securityContext"];
            assert_eq!(security["readOnlyRootFilesystem"], true);
            assert_eq!(security["allowPrivilegeEscalation"], false);
            assert_eq!(security["capabilities"]["drop"][0], "ALL");
            assert!(container["resources"]["limits"]["memory"].is_string());
            assert!(container["resources"]["requests"]["cpu"].is_string());
        }
    }
}

#[test]
fn the_binary_takes_what_the_pods_are_told() {
    let Some(objects) = objects() else { return };
    let of_kind = |kind: &'static str| objects.iter().filter(move |o| o["kind"] == kind);
    let dir = tempfile::tempdir().unwrap();
    for (name, secret) in [
        ("state-password", "of-the-database"),
        ("write-token", "a-token-that-is-long-enough"),
        ("operate-token", "another-token-that-is-long"),
        ("webhook-secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    ] {
        assert!(of_kind("Secret").next().unwrap()["stringData"][name].is_string(), "{name}");
        std::fs::write(dir.path().join(name), secret).unwrap();
    }
    let text = of_kind("ConfigMap").next().unwrap()["data"]["forewarn.toml"].as_str().unwrap();
    let here = dir.path().display().to_string();
    let config = dir.path().join("forewarn.toml");
    let text = text.replace("/etc/forewarn-secrets", &here);
    std::fs::write(&config, &text).unwrap();
    let store = format!("file://{here}/store");
    let whole = forewarn().args(["runs", "--config"]).arg(&config).env("FOREWARN_STORE_URL", &store).output().unwrap();
    assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stderr));
    // Its database is not here: what is known of labels is asked of a state on disk.
    let on_disk: Vec<&str> = text.lines().filter(|line| !line.starts_with("state")).collect();
    std::fs::write(&config, on_disk.join("\n")).unwrap();

    for object in &objects {
        let Some(pod) = pod(object) else { continue };
        let container = &pod["containers"][0];
        let arguments: Vec<&str> = container["args"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
        let [flag, path, command @ ..] = arguments.as_slice() else { panic!("{arguments:?}") };
        assert_eq!((*flag, *path), ("--config", "/etc/forewarn/forewarn.toml"));
        if command == ["serve"] {
            continue; // It would wait for its database: the configuration is what the others read, too.
        }
        let mut run = forewarn();
        run.args(command).arg("--config").arg(&config).env("FOREWARN_STORE_URL", &store);
        for variable in container["env"].as_array().unwrap() {
            if let Some(value) = variable["value"].as_str() {
                run.env(variable["name"].as_str().unwrap(), value);
            }
        }
        if object["spec"]["completionMode"] == "Indexed" {
            let shards = container["env"].as_array().unwrap().iter().find(|v| v["name"] == "FOREWARN_SHARDS").unwrap();
            let completions = object["spec"]["completions"].as_i64().unwrap();
            assert_eq!(shards["value"], completions.to_string(), "as many parts as there are pods");
            run.env("JOB_COMPLETION_INDEX", (completions - 1).to_string());
        }
        // There is no source and no dataset, which is found out after the command line and the configuration were taken.
        let output = run.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_ne!(output.status.code(), Some(2), "{command:?}: {said}");
        assert_ne!(output.status.code(), Some(0), "{command:?}");
    }
}
