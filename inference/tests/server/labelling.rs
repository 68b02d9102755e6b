//! Labels over HTTP: many at once, found again, taken back and given back, by a link in a message, and by a real
//! Alertmanager.

use std::collections::BTreeMap;
use std::time::Duration;

use forewarn_inference::{AlertMapping, Alertmanagers, Reach};
use forewarn_schema::{BreachKind, Timestamp};
use forewarn_testkit::http;
use forewarn_testkit::servers::alertmanager;
use forewarn_testkit::webhook::{WebhookReceiver, verify};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::asking::credentials;
use crate::rig::{Rig, START, start, webhook};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PATIENCE: Duration = Duration::from_secs(20);
/// Where readers of messages reach the server; the tests ask it where it is.
const PUBLIC: &str = "https://forewarn.monitoring.example.com";

fn missed(minute: i64) -> Value {
    json!({"service": "cart", "kind": "oom", "at": START + minute * 60, "verdict": "missed", "note": "paged"})
}

fn span(service: &str) -> Value {
    json!({"service": service, "from": START, "to": START + 3600, "verdict": "false_positive", "note": "a load test"})
}

fn ids(labels: &Value) -> Vec<&str> {
    labels.as_array().unwrap().iter().map(|label| label["id"].as_str().unwrap()).collect()
}

async fn post_lines(rig: &Rig, lines: String) -> (StatusCode, Value) {
    let request = rig.client.post(format!("{}/api/v1/feedback", rig.base));
    let response = request.header("content-type", "application/x-ndjson").body(lines).send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_labels_are_stored_all_or_none_and_found_page_by_page() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |_| {}).await;
    let request = rig.leak_until_request(START).await;
    let mut many: Vec<Value> = (0..5).map(missed).collect();
    many.push(span("cart"));
    many.push(json!({"request_id": request["id"], "verdict": "true_positive"}));
    let (status, stored) = rig.post("/api/v1/feedback", Value::Array(many.clone())).await;
    assert_eq!((status, stored.as_array().unwrap().len()), (StatusCode::CREATED, 7), "{stored}");
    assert_eq!((&stored[5]["note"], &stored[5]["who"]), (&json!("a load test"), &json!("unauthenticated")));
    let (status, one) = post_lines(&rig, format!("{}\n{}\n", span("pay"), span("search"))).await;
    assert_eq!((status, one.as_array().unwrap().len()), (StatusCode::CREATED, 2), "{one}");
    // One that is wrong, or of nothing that is known, keeps all others out and is named.
    let before = rig.get("/api/v1/feedback").await.1;
    for (wrong, status, says) in [
        (json!({"service": "cart", "verdict": "unclear"}), StatusCode::UNPROCESSABLE_ENTITY, "label 3: a label must"),
        (json!({"request_id": "r-0", "verdict": "unclear"}), StatusCode::NOT_FOUND, "no request with id r-0"),
        (json!({"verdict": "maybe"}), StatusCode::UNPROCESSABLE_ENTITY, "unknown variant"),
    ] {
        let (got, problem) = rig.post("/api/v1/feedback", json!([missed(10), missed(11), wrong])).await;
        assert_eq!(got, status, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
    }
    let (status, _) = rig.post("/api/v1/feedback", (0..1001).map(missed).collect()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(post_lines(&rig, "{\"verdict\"".to_owned()).await.0, StatusCode::BAD_REQUEST);
    let plain = rig.client.post(format!("{}/api/v1/feedback", rig.base)).body(missed(1).to_string()).send().await;
    assert_eq!(plain.unwrap().status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(rig.get("/api/v1/feedback").await.1, before);

    // Newest first, in pages that the header names; of one service, of one kind, one verdict.
    let mut path = Some("/api/v1/feedback?limit=4&since=2026-01-01T00:00:00Z".to_owned());
    let (mut seen, mut pages) = (Vec::new(), 0);
    while let Some(asked) = path {
        let response = rig.client.get(format!("{}{asked}", rig.base)).send().await.unwrap();
        let next = response.headers().get(header::LINK).map(|link| link.to_str().unwrap().to_owned());
        path = next.map(|link| link.trim_start_matches('<').split_once('>').unwrap().0.to_owned());
        seen.extend(response.json::<Value>().await.unwrap().as_array().unwrap().clone());
        pages += 1;
    }
    assert_eq!((Value::Array(seen), pages), (before.clone(), 3));
    let count = async |query: &str| rig.get(&format!("/api/v1/feedback?{query}")).await.1.as_array().unwrap().len();
    assert_eq!(count("service=cart").await, 7, "those of a request are found by its service");
    assert_eq!(count("service=cart&kind=pool_exhaustion").await, 2, "the request's, and the span of every kind");
    assert_eq!(count("verdict=missed&source=api").await, 5);
    assert_eq!(count("since=2027-01-01T00:00:00Z").await, 0);
    assert_eq!(rig.get("/api/v1/feedback?kind=ooom").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(rig.get("/api/v1/feedback?before=f-0").await.0, StatusCode::NOT_FOUND);

    // Taken back and given back, everything is as it was.
    let id = stored[3]["id"].as_str().unwrap();
    let path = format!("/api/v1/feedback/{id}");
    assert_eq!(rig.send(Method::DELETE, &path, Value::Null).await.0, StatusCode::NO_CONTENT);
    assert_eq!(count("verdict=missed").await, 4);
    assert_eq!(ids(&rig.get("/api/v1/feedback?taken_back=true").await.1), [id]);
    for _ in 0..2 {
        let (status, label) = rig.post(&format!("{path}/restore"), Value::Null).await;
        assert_eq!((status, &label), (StatusCode::OK, &stored[3]));
    }
    assert_eq!(rig.get("/api/v1/feedback").await.1, before);
    assert_eq!(rig.post("/api/v1/feedback/f-0/restore", Value::Null).await.0, StatusCode::NOT_FOUND);
    rig.stop().await;
}

/// Status and text of a link's page, without a login.
async fn follow(rig: &Rig, url: &str) -> (StatusCode, String) {
    let response = rig.client.get(url.replace(PUBLIC, &rig.base)).send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

/// Presses a button of it, as a browser does.
async fn press(rig: &Rig, url: &str, fields: &[(&str, &str)]) -> (StatusCode, String) {
    let request = rig.client.post(url.replace(PUBLIC, &rig.base)).header("sec-fetch-site", "same-origin");
    let response = request.form(fields).send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

async fn labels_of(rig: &Rig) -> Value {
    let request = rig.client.get(format!("{}/api/v1/feedback", rig.base));
    request.bearer_auth("token-of-grafana").send().await.unwrap().json().await.unwrap()
}

/// More than links allow in a second are refused; the tests do not want to meet that by the way.
async fn breathe() {
    tokio::time::sleep(Duration::from_millis(2200)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_in_a_message_labels_once_somebody_presses_its_button() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = WebhookReceiver::start(0).unwrap();
    let rig = start(folder.path(), |options| {
        options.webhook = Some(webhook(&receiver, SECRET));
        options.public_url = Some(PUBLIC.parse().unwrap());
    })
    .await;
    let request = rig.leak_until_request(START).await;
    assert!(receiver.wait_for(1, PATIENCE));
    let delivered = &receiver.requests()[0];
    verify(SECRET, delivered).unwrap();
    let message: Value = serde_json::from_slice(&delivered.body).unwrap();
    assert_eq!(message["id"], request["id"], "the message is whole: {message}");
    let links: BTreeMap<String, String> = serde_json::from_value(message["label_links"].clone()).unwrap();
    assert_eq!(links.keys().collect::<Vec<_>>(), ["false_positive", "true_positive", "unclear"]);
    assert!(links.values().all(|url| url.starts_with(PUBLIC) && url.len() < 200), "{links:?}");
    assert!(request.get("label_links").is_none(), "who may only look is given none");
    rig.stop().await;

    // Another server of the same state, which asks everybody who they are.
    let rig = start(folder.path(), |options| {
        options.access = credentials();
        options.public_url = Some(PUBLIC.parse().unwrap());
    })
    .await;
    let (right, wrong) = (&links["true_positive"], &links["false_positive"]);
    assert_eq!(follow(&rig, &format!("{}/", rig.base)).await.0, StatusCode::UNAUTHORIZED);
    for _ in 0..2 {
        let (status, page) = follow(&rig, right).await;
        assert_eq!(status, StatusCode::OK);
        assert!(page.contains("cart, pod cart-1: connection pool exhausted"), "{page}");
        assert!(page.contains("Label it true positive"), "{page}");
        for secret in ["/requests", "/models", "token", "sci-"] {
            assert!(!page.contains(secret), "{secret:?} is nothing for who has a link: {page}");
        }
    }
    assert_eq!(follow(&rig, &format!("{}/l/page.css", rig.base)).await.0, StatusCode::OK, "its style needs no login");
    assert_eq!(labels_of(&rig).await, json!([]), "looking labels nothing");

    let (status, page) = press(&rig, right, &[("note", " it leaked ")]).await;
    assert!(status == StatusCode::OK && page.contains("by this link") && page.contains("Undo"), "{status} {page}");
    let given = labels_of(&rig).await;
    assert_eq!(given.as_array().unwrap().len(), 1);
    let label = &given[0];
    assert_eq!(
        (&label["verdict"], &label["source"], &label["who"], &label["note"]),
        (&json!("true_positive"), &json!("link"), &json!("link"), &json!("it leaked"))
    );
    assert_eq!(label["subject"], json!({"of": "request", "request_id": request["id"]}));
    press(&rig, right, &[]).await;
    assert_eq!(labels_of(&rig).await, given, "pressed again it says what it said");
    breathe().await;
    // Somebody else, by the other link; then the first goes back to their word, and takes it back.
    press(&rig, wrong, &[]).await;
    assert!(follow(&rig, right).await.1.contains("something else since"));
    press(&rig, right, &[]).await;
    assert_eq!(labels_of(&rig).await.as_array().unwrap().len(), 3);
    press(&rig, right, &[("undo", "1")]).await;
    press(&rig, wrong, &[("undo", "1")]).await;
    assert_eq!(labels_of(&rig).await, given, "each undo takes back one's own last word");

    breathe().await;
    let cross = rig.client.post(right.replace(PUBLIC, &rig.base)).header("sec-fetch-site", "cross-site");
    assert_eq!(cross.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    assert_eq!(follow(&rig, &right.replace(".rt.", ".rf.")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(press(&rig, &right.replace("r-", "r-0"), &[]).await.0, StatusCode::NOT_FOUND);
    let expires: Timestamp = serde_json::from_value(request["expires_at"].clone()).unwrap();
    rig.set_now(expires.millis() / 1000 + 7 * 86_400 + 1);
    for (status, page) in [follow(&rig, right).await, press(&rig, right, &[]).await] {
        assert_eq!(status, StatusCode::GONE);
        assert!(page.contains("good for a while only"), "{page}");
    }
    assert_eq!(labels_of(&rig).await, given);
    let mut refused = None;
    for _ in 0..30 {
        let (status, _) = follow(&rig, &format!("{}/l/r-1.rt.1..AAAAAAAAAAAAAAAAAAAAAA", rig.base)).await;
        refused = refused.or((status == StatusCode::TOO_MANY_REQUESTS).then_some(status));
    }
    assert!(refused.is_some(), "guessing is slow");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_made_for_somebody_and_label_in_their_name() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |options| options.access = credentials()).await;
    let ask = async |body: Value, role: &str| {
        let request = rig.client.post(format!("{}/api/v1/feedback/links", rig.base)).json(&body);
        let request = match role {
            "operate" => request.basic_auth("anna", Some("password-of-anna")),
            _ => request.bearer_auth("token-of-grafana"),
        };
        let response = request.send().await.unwrap();
        (response.status(), response.json::<Value>().await.unwrap())
    };
    let unknown = json!({"request_id": "r-0"});
    assert_eq!(ask(unknown.clone(), "read").await.0, StatusCode::FORBIDDEN, "who may only look gets none");
    assert_eq!(ask(unknown, "operate").await.0, StatusCode::NOT_FOUND);
    assert_eq!(ask(json!({}), "operate").await.0, StatusCode::UNPROCESSABLE_ENTITY);
    rig.stop().await;

    let rig = start(folder.path(), |_| {}).await;
    let request = rig.leak_until_request(START).await;
    let body = json!({"prediction_id": request["prediction_id"], "who": "Zoë, on call"});
    let (status, made) = rig.post("/api/v1/feedback/links", body).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    let url = made["unclear"].as_str().unwrap();
    assert!(follow(&rig, url).await.1.contains("As Zoë, on call."));
    press(&rig, url, &[]).await;
    let label = &rig.get("/api/v1/feedback").await.1[0];
    assert_eq!((&label["who"], &label["source"]), (&json!("Zoë, on call"), &json!("link")));
    assert_eq!(label["subject"], json!({"of": "prediction", "prediction_id": request["prediction_id"]}));
    let audit = rig.get("/api/v1/audit?limit=1").await.1;
    assert_eq!(audit["entries"][0]["who"], "Zoë, on call");
    rig.stop().await;

    let rig = start(folder.path(), |options| options.feedback.links_valid = Duration::ZERO).await;
    let (status, _) = rig.post("/api/v1/feedback/links", json!({"request_id": request["id"]})).await;
    assert_eq!(status, StatusCode::CONFLICT, "turned off");
    let elsewhere = format!("{}/l/{}", rig.base, url.rsplit_once("/l/").unwrap().1);
    assert_eq!(follow(&rig, &elsewhere).await.0, StatusCode::NOT_FOUND);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_alertmanager_tells_of_hits_and_misses_in_its_own_words() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |options| {
        options.feedback.alerts = AlertMapping {
            service_labels: vec!["app".into(), "service".into()],
            kinds: BTreeMap::from([
                ("KubeContainerOOMKilled".into(), BreachKind::Oom),
                ("PoolSaturated".into(), BreachKind::PoolExhaustion),
            ]),
            ..AlertMapping::default()
        };
    })
    .await;
    let config = format!(
        "route: {{receiver: forewarn, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 1s}}\n\
         receivers: [{{name: forewarn, webhook_configs: [{{url: '{}/api/v1/alertmanager', send_resolved: true}}]}}]\n",
        rig.base
    );
    let Some(server) = alertmanager(&config).unwrap() else { return };
    let request = rig.leak_until_request(START).await;
    let emitted: Timestamp = serde_json::from_value(request["at"].clone()).unwrap();
    let alert =
        |labels: Value, at: Timestamp| json!({"labels": labels, "startsAt": at, "endsAt": "2100-01-01T00:00:00Z"});
    let fire = |alerts: Value| {
        let url = format!("{}/api/v2/alerts", server.url());
        let answer = http::post(&url, &[("content-type", "application/json")], alerts.to_string().as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body_text());
    };
    let hit = json!({"alertname": "PoolSaturated", "app": "cart", "severity": "page"});
    let miss = json!({"alertname": "KubeContainerOOMKilled", "service": "pay", "pod": "pay-1"});
    let other = json!({"alertname": "Watchdog", "app": "cart"});
    fire(json!([alert(hit, emitted + Duration::from_secs(300)), alert(miss.clone(), emitted), alert(other, emitted),]));
    let labels = async || rig.get("/api/v1/feedback").await.1;
    let begun = tokio::time::Instant::now();
    while labels().await.as_array().unwrap().len() < 2 {
        assert!(begun.elapsed() < PATIENCE, "{}\n{}", labels().await, server.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut said: Vec<Value> = labels().await.as_array().unwrap().clone();
    said.sort_by_key(|label| label["verdict"].as_str().unwrap().to_owned());
    assert_eq!(said[0]["subject"], json!({"of": "breach", "service": "pay", "kind": "oom", "at": emitted}));
    assert_eq!((&said[0]["verdict"], &said[0]["note"]), (&json!("missed"), &json!("alert KubeContainerOOMKilled")));
    assert_eq!(said[1]["subject"]["prediction_id"], request["prediction_id"]);
    assert_eq!((&said[1]["verdict"], &said[1]["source"]), (&json!("true_positive"), &json!("alertmanager")));

    // Somebody takes one back; the alert goes on firing and is told again and again.
    let id = said[0]["id"].as_str().unwrap();
    assert_eq!(
        rig.send(Method::DELETE, &format!("/api/v1/feedback/{id}"), Value::Null).await.0,
        StatusCode::NO_CONTENT
    );
    let repeated = r#"forewarn_alerts_total{result="repeated"}"#;
    let before = rig.metric(repeated).await.unwrap_or(0.0);
    while rig.metric(repeated).await.unwrap_or(0.0) < before + 2.0 {
        assert!(begun.elapsed() < PATIENCE * 3, "{}", server.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(ids(&labels().await), [said[1]["id"].as_str().unwrap()], "what was taken back stays so");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_of_ours_carries_the_links_too_and_only_where_readers_know_the_server() {
    let hook = WebhookReceiver::start(0).unwrap();
    let config = format!(
        "route: {{receiver: hook}}\nreceivers: [{{name: hook, webhook_configs: [{{url: '{}'}}]}}]\n",
        hook.url()
    );
    for (public, wanted) in [(Some(PUBLIC), 3), (None, 0)] {
        let Some(server) = alertmanager(&config).unwrap() else { return };
        let folder = tempfile::tempdir().unwrap();
        let rig = start(folder.path(), |options| {
            options.alertmanagers = Some(Alertmanagers::new(vec![server.url().parse().unwrap()], Reach::default()));
            options.public_url = public.map(|url| url.parse().unwrap());
        })
        .await;
        let request = rig.leak_until_request(START).await;
        let begun = tokio::time::Instant::now();
        let alert = loop {
            let alerts = http::get(&format!("{}/api/v2/alerts", server.url())).unwrap();
            let alerts: Vec<Value> = serde_json::from_str(&alerts.body_text()).unwrap();
            if let Some(alert) = alerts.into_iter().next() {
                break alert;
            }
            assert!(begun.elapsed() < PATIENCE, "{}", server.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let annotations = alert["annotations"].as_object().unwrap();
        let links: Vec<&str> = ["label_true_positive", "label_false_positive", "label_unclear"]
            .iter()
            .filter_map(|name| annotations.get(*name)?.as_str())
            .collect();
        assert_eq!(links.len(), wanted, "{alert}");
        let prefix = format!("{PUBLIC}/l/{}.r", request["id"].as_str().unwrap());
        assert!(links.iter().all(|link| link.starts_with(&prefix) && link.len() < 200), "{links:?}");
        rig.stop().await;
    }
}
