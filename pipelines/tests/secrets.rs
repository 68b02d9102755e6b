//! No secret, right or wrong, ours or presented, is in the log, in an answer, in the metrics, or in what the commands say.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod support;

use std::fs;

use forewarn_testkit::{http, servers};
use support::{Serving, run, write_config};

const TOKEN: &str = "the-token-of-grafana-7f3a";
const PASSWORD: &str = "the-password-of-anna-91bc";
const WRONG: &str = "a-wrong-secret-that-was-presented";
const OF_SOURCE: &str = "the-token-of-the-source-5d2e";
const OF_WEBHOOK: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// `anna:PASSWORD` and `anna:WRONG` as basic authentication sends them.
const BASIC: [&str; 2] =
    ["Basic YW5uYTp0aGUtcGFzc3dvcmQtb2YtYW5uYS05MWJj", "Basic YW5uYTphLXdyb25nLXNlY3JldC10aGF0LXdhcy1wcmVzZW50ZWQ="];

#[test]
fn no_secret_is_in_the_log_an_answer_or_an_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("token"), TOKEN).unwrap();
    let port = servers::spare_port().unwrap();
    let nobody = servers::spare_port().unwrap();
    let rest = format!(
        "[[source]]\nname = \"far\"\nkind = \"prometheus\"\nurl = \"http://127.0.0.1:{nobody}\"\ntoken = \"{OF_SOURCE}\"\nretries = 0\n\
         [serve]\npull = \"far\"\n\
         [[serve.access]]\nname = \"grafana\"\nrole = \"read\"\ntoken_file = \"token\"\n\
         [[serve.access]]\nname = \"anna\"\nrole = \"operate\"\npassword = \"{PASSWORD}\"\n\
         [requests]\nwebhook = \"http://127.0.0.1:{nobody}/hook\"\nwebhook_secret = \"{OF_WEBHOOK}\"\n"
    );
    let config = write_config(dir.path(), &rest);
    let mut said = Vec::new();
    let mut serving = Serving::start(&config, port);
    let bearer = |secret: &str| format!("Bearer {secret}");
    let authorizations =
        [bearer(TOKEN), bearer(WRONG), BASIC[0].to_owned(), BASIC[1].to_owned(), "Digest x".to_owned()];
    for authorization in &authorizations {
        for (method, path) in [
            ("GET", "/metrics"),
            ("GET", "/"),
            ("GET", "/api/v1/nothing"),
            ("POST", "/api/v1/write"),
            ("POST", "/api/v1/feedback"),
            ("POST", "/-/reload"),
        ] {
            let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
            let answer = http::send(method, &format!("{}{path}", serving.url), &headers, b"{}").unwrap();
            let known =
                !authorization.contains(WRONG) && authorization != BASIC[1] && !authorization.starts_with("Digest");
            assert_eq!(answer.status == 401, !known, "{method} {path} with {authorization}: {}", answer.status);
            said.push(answer.body_text());
        }
    }
    // Long enough for a fetch to fail, which is logged with the source's name.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let log = serving.stop();
    assert!(log.contains("samples not fetched"), "{log}");
    said.push(log);
    for command in [&["check"][..], &["pull"], &["models"]] {
        said.push(run(command, Some(&config)).to_string());
    }
    let short = rest.replace(PASSWORD, "short-one");
    said.push(run(&["check"], Some(&write_config(dir.path(), &short))).expect_code(2).to_string());
    let secrets = [TOKEN, PASSWORD, WRONG, OF_SOURCE, OF_WEBHOOK, "short-one", &BASIC[0][6..], &BASIC[1][6..]];
    for text in &said {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} is shown: {text}");
        }
    }
}

#[test]
fn what_stands_in_a_wrong_file_of_the_door_is_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("server.pem"), format!("not a certificate but {WRONG}")).unwrap();
    fs::write(dir.path().join("web.yml"), format!("basic_auth_users:\n  anna: {PASSWORD}\n")).unwrap();
    for (rest, says) in [
        (
            "[serve.tls]\ncert_file = \"server.pem\"\nkey_file = \"server.pem\"\n",
            "server.pem: wanted a PEM certificate",
        ),
        ("[serve]\nweb_config_file = \"web.yml\"\n", "web.yml: basic_auth_users: wanted a bcrypt hash for anna"),
        ("[serve]\nweb_config_file = \"nowhere.yml\"\n", "cannot read"),
        (
            "[[serve.access]]\nname = \"anna\"\nrole = \"read\"\ncertificate = \"anna\"\n",
            "\"anna\" is to be known by a certificate",
        ),
    ] {
        let config = write_config(dir.path(), rest);
        for command in ["check", "serve"] {
            let said = run(&[command], Some(&config)).expect_code(2).to_string();
            assert!(said.contains(says), "{says}: {said}");
            assert!(!said.contains(WRONG) && !said.contains(PASSWORD), "{said}");
        }
    }
}
