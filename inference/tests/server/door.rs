//! The door with real certificates (made by openssl) and real clients, a real Prometheus among them.

use std::path::Path;
use std::time::{Duration, Instant};

use forewarn_inference::{
    ClientAuth, Credential, CredentialKind, DoorOptions, RateOptions, Role, ServerOptions, TlsFiles, system_clock,
};
use forewarn_testkit::certificates::Certificates;
use forewarn_testkit::remote_write::HEADERS;
use forewarn_testkit::servers;
use reqwest::{Certificate, Client, Identity, StatusCode};

use crate::rig::{START, bind, options, pool_scrape, start};

/// Two authorities, a server, and three clients: one with a DNS name, one without, and one that the other authority certified.
fn certificates() -> Option<Certificates> {
    let made = Certificates::new().unwrap()?;
    for authority in ["ca", "other-ca"] {
        made.authority(authority).unwrap();
    }
    let certify = |name, authority, extension| made.certify(name, authority, name, extension).unwrap();
    certify("server", "ca", "subjectAltName=DNS:localhost,IP:127.0.0.1");
    certify("sender", "ca", "subjectAltName=DNS:prometheus.local,URI:spiffe://local/prometheus");
    certify("anna", "ca", "extendedKeyUsage=clientAuth");
    certify("stranger", "other-ca", "extendedKeyUsage=clientAuth");
    Some(made)
}

fn tls(made: &Certificates, client_auth_type: ClientAuth) -> TlsFiles {
    let client_ca_file = (client_auth_type != ClientAuth::NoClientCert).then(|| made.path("ca.pem"));
    let files = TlsFiles::new(made.path("server.pem"), made.path("server.key"));
    TlsFiles { client_ca_file, client_auth_type, ..files }
}

/// Believes one authority, and shows a certificate where it is told to.
fn client(made: &Certificates, authority: &str, shows: Option<&str>) -> Client {
    forewarn_storage::install_crypto_provider();
    let read = |name: String| std::fs::read(made.path(&name)).unwrap();
    let believed = Certificate::from_pem(&read(format!("{authority}.pem"))).unwrap();
    let builder = Client::builder().no_proxy().timeout(Duration::from_secs(20)).tls_certs_only([believed]);
    let builder = match shows {
        Some(name) => {
            let pem = [read(format!("{name}.pem")), read(format!("{name}.key"))].concat();
            builder.identity(Identity::from_pem(&pem).unwrap())
        }
        None => builder,
    };
    builder.build().unwrap()
}

async fn get(client: &Client, url: String) -> Option<StatusCode> {
    client.get(url).send().await.ok().map(|answer| answer.status())
}

/// Asks until it is so, for as long as a look at the files may take.
async fn becomes(mut so: impl AsyncFnMut() -> bool) -> bool {
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        if so().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_is_not() {
    let Some(made) = certificates() else { return };
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |options| options.door.tls = Some(tls(&made, ClientAuth::NoClientCert))).await;
    assert!(rig.base.starts_with("https://"));
    let ready = format!("{}/-/ready", rig.base);
    let (ours, others) = (client(&made, "ca", None), client(&made, "other-ca", None));
    assert_eq!(get(&ours, ready.clone()).await, Some(StatusCode::OK));
    assert_eq!(get(&others, ready.clone()).await, None, "certified by somebody else");
    assert_eq!(get(&ours, ready.replace("https", "http")).await, None, "nothing is said in the clear");

    std::fs::write(made.path("server.pem"), "half a certif").unwrap();
    let metrics = format!("{}/metrics", rig.base);
    let refused = becomes(async || {
        let text = ours.get(&metrics).send().await.unwrap().text().await.unwrap();
        text.contains(r#"forewarn_door_reloads_total{result="refused"} 1"#)
    });
    assert!(refused.await, "a broken file is told of");
    let anew = client(&made, "ca", None);
    assert_eq!(get(&anew, ready.clone()).await, Some(StatusCode::OK), "what was shown before still is");

    made.certify("server", "other-ca", "server", "subjectAltName=IP:127.0.0.1").unwrap();
    let renewed = becomes(async || get(&client(&made, "other-ca", None), ready.clone()).await == Some(StatusCode::OK));
    assert!(renewed.await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_opens_the_door_and_its_name_has_a_role() {
    let Some(made) = certificates() else { return };
    let folder = tempfile::tempdir().unwrap();
    let of = |name, role, by, secret| Credential::new(name, role, by, secret).unwrap();
    let rig = start(folder.path(), |options| {
        options.door.tls = Some(tls(&made, ClientAuth::RequireAndVerifyClientCert));
        options.access = vec![
            of("prometheus", Role::Write, CredentialKind::Certificate, "spiffe://local/prometheus"),
            of("grafana", Role::Read, CredentialKind::Token, "token-of-grafana"),
        ];
    });
    let rig = rig.await;
    let page = format!("{}/api/v1/predictions", rig.base);
    for nobody in [None, Some("stranger")] {
        assert_eq!(get(&client(&made, "ca", nobody), page.clone()).await, None, "{nobody:?} is not let in");
    }
    let (sender, anna) = (client(&made, "ca", Some("sender")), client(&made, "ca", Some("anna")));
    rig.set_now(START + 15);
    let mut write = sender.post(format!("{}/api/v1/write", rig.base)).body(pool_scrape(START, 5.0));
    for (name, value) in HEADERS {
        write = write.header(name, value);
    }
    assert_eq!(write.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(get(&sender, page.clone()).await, Some(StatusCode::FORBIDDEN), "a sender does not read");
    assert_eq!(get(&anna, page.clone()).await, Some(StatusCode::UNAUTHORIZED), "certified, and nobody here");
    let with_token = anna.get(&page).bearer_auth("token-of-grafana").send().await.unwrap();
    assert_eq!(with_token.status(), StatusCode::OK, "what is said counts before what is shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_alone_are_a_way_to_say_who_one_is() {
    let Some(made) = certificates() else { return };
    let folder = tempfile::tempdir().unwrap();
    let remote = |door: DoorOptions| ServerOptions { listen: ([0, 0, 0, 0], 0).into(), door, ..options(folder.path()) };
    let with = |auth| DoorOptions { tls: Some(tls(&made, auth)), web_config_file: None };
    assert!(bind(folder.path(), remote(with(ClientAuth::RequireAndVerifyClientCert))).await.is_ok());
    for open in [ClientAuth::NoClientCert, ClientAuth::VerifyClientCertIfGiven] {
        let refused = bind(folder.path(), remote(with(open))).await.err().unwrap().to_string();
        assert!(refused.contains("nobody is asked"), "{open:?}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_door_is_refused_by_name() {
    let Some(made) = certificates() else { return };
    let folder = tempfile::tempdir().unwrap();
    let with = |change: &dyn Fn(&mut TlsFiles)| {
        let mut files = tls(&made, ClientAuth::RequireAndVerifyClientCert);
        change(&mut files);
        DoorOptions { tls: Some(files), web_config_file: None }
    };
    type Change<'a> = &'a dyn Fn(&mut TlsFiles);
    let cases: [(&str, Change<'_>); 7] = [
        ("cannot read", &|files| files.cert_file = "/nowhere".into()),
        ("ca.pem: wanted a PEM private key", &|files| files.key_file = made.path("ca.pem")),
        ("got none", &|files| files.cert_file = made.path("extensions")),
        ("server.pem: with", &|files| files.key_file = made.path("anna.key")),
        ("needs client_ca_file", &|files| files.client_ca_file = None),
        ("need client_auth_type", &|files| files.client_auth_type = ClientAuth::NoClientCert),
        ("believe any certificate", &|files| files.client_auth_type = ClientAuth::RequireAnyClientCert),
    ];
    for (says, change) in cases {
        let door = with(change);
        let error = bind(folder.path(), ServerOptions { door, ..options(folder.path()) }).await.err().unwrap();
        let text = error.to_string();
        assert!(text.contains(says), "{says}: {text}");
    }
    let nobody = vec![Credential::new("anna", Role::Read, CredentialKind::Certificate, "anna").unwrap()];
    let options = ServerOptions { access: nobody, ..options(folder.path()) };
    let error = bind(folder.path(), options).await.err().unwrap().to_string();
    assert!(error.contains("\"anna\" is to be known by a certificate"), "{error}");
}

fn web_config(folder: &Path, text: &str) -> std::path::PathBuf {
    let path = folder.join("web.yml");
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_a_web_config_read_and_those_with_a_role_do_more() {
    let folder = tempfile::tempdir().unwrap();
    let hash = |password: &str| bcrypt::hash(password, 4).unwrap();
    let text = |of_otto: &str| {
        format!(
            "basic_auth_users:\n  anna: {}\n  otto: {}\n\
             http_server_config:\n  headers:\n    X-Frame-Options: SAMEORIGIN\n",
            hash("of anna"),
            hash(of_otto)
        )
    };
    let path = web_config(folder.path(), &text("of otto"));
    let rig = start(folder.path(), |options| {
        options.door.web_config_file = Some(path);
        options.access = vec![Credential::new("anna", Role::Operate, CredentialKind::WebUser, "").unwrap()];
    });
    let rig = rig.await;
    let ask = async |reload: bool, user: &str, password: &str| {
        let request = match reload {
            true => rig.client.post(format!("{}/-/reload", rig.base)),
            false => rig.client.get(format!("{}/api/v1/models", rig.base)),
        };
        request.basic_auth(user, Some(password)).send().await.unwrap()
    };
    assert_eq!(ask(true, "anna", "of anna").await.status(), StatusCode::OK);
    let read = ask(false, "otto", "of otto").await;
    assert_eq!(read.status(), StatusCode::OK);
    assert_eq!(read.headers()["x-frame-options"], "SAMEORIGIN", "the file's word counts");
    assert_eq!(read.headers()["x-content-type-options"], "nosniff", "what it does not say stays");
    assert_eq!(ask(true, "otto", "of otto").await.status(), StatusCode::FORBIDDEN);
    assert_eq!(ask(false, "otto", "of anna").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(ask(false, "nobody", "of anna").await.status(), StatusCode::UNAUTHORIZED);

    web_config(folder.path(), &text("changed"));
    let metrics = format!("{}/metrics", rig.base);
    let changed = becomes(async || {
        let asked = rig.client.get(&metrics).basic_auth("anna", Some("of anna")).send().await.unwrap();
        asked.text().await.unwrap().contains(r#"forewarn_door_reloads_total{result="changed"} 1"#)
    });
    assert!(changed.await);
    assert_eq!(ask(false, "otto", "changed").await.status(), StatusCode::OK);
    assert_eq!(ask(false, "otto", "of otto").await.status(), StatusCode::UNAUTHORIZED, "what was right is forgotten");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told_when_to_come_again_and_others_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let of = |name, secret| Credential::new(name, Role::Read, CredentialKind::Token, secret).unwrap();
    let rig = start(folder.path(), |options| {
        options.rates = RateOptions { requests_per_second: 1.0, writes_per_second: 1.0 };
        options.access = vec![
            of("grafana", "token-of-grafana"),
            of("other", "token-of-another"),
            Credential::new("prometheus", Role::Write, CredentialKind::Token, "token-of-prometheus").unwrap(),
        ];
    });
    let rig = rig.await;
    let url = format!("{}/api/v1/models", rig.base);
    let ask = async |token: &str| rig.client.get(&url).bearer_auth(token).send().await.unwrap();
    let mut answers = Vec::new();
    for _ in 0..10 {
        answers.push(ask("token-of-grafana").await);
    }
    let late = answers.iter().find(|answer| answer.status() == StatusCode::TOO_MANY_REQUESTS).expect("a limit");
    assert!(late.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(answers[0].status(), StatusCode::OK);
    assert_eq!(ask("token-of-another").await.status(), StatusCode::OK, "each has their own");
    assert_eq!(rig.client.get(format!("{}/-/ready", rig.base)).send().await.unwrap().status(), StatusCode::OK);
    let write = async || {
        let write = rig.client.post(format!("{}/api/v1/write", rig.base)).body(pool_scrape(START, 5.0));
        let write = HEADERS.iter().fold(write, |write, (name, value)| write.header(*name, *value));
        write.bearer_auth("token-of-prometheus").send().await.unwrap().status()
    };
    let mut written = Vec::new();
    for _ in 0..10 {
        written.push(write().await);
    }
    assert_eq!(written[0], StatusCode::NO_CONTENT);
    assert!(written.contains(&StatusCode::TOO_MANY_REQUESTS), "{written:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_of_an_embedded_router_are_told_apart_by_their_addresses() {
    use axum::body::Body;
    use axum::extract::ConnectInfo;
    use tower::ServiceExt as _;

    let folder = tempfile::tempdir().unwrap();
    let rates = RateOptions { requests_per_second: 1.0, writes_per_second: 0.0 };
    let server = bind(folder.path(), ServerOptions { rates, ..options(folder.path()) }).await.unwrap();
    let router = forewarn_inference::router(server.handle().app().clone());
    let ask = async |last: u8| {
        let from = ConnectInfo(std::net::SocketAddr::from(([127, 0, 0, last], 9)));
        let request = axum::http::Request::get("/api/v1/models").extension(from).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap().status()
    };
    let answers = [ask(1).await, ask(1).await, ask(1).await, ask(2).await];
    let (ok, late) = (StatusCode::OK, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answers, [ok, ok, late, ok]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_asked_for_by_another_sites_page_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let rig = start(folder.path(), |_| {}).await;
    let reload = |headers: &[(&'static str, String)]| {
        let request = rig.client.post(format!("{}/-/reload", rig.base));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        async { request.send().await.unwrap().status() }
    };
    let own = rig.base.clone();
    assert_eq!(reload(&[]).await, StatusCode::OK, "no browser");
    assert_eq!(reload(&[("origin", own.clone()), ("sec-fetch-site", "same-origin".to_owned())]).await, StatusCode::OK);
    for foreign in [
        ("origin", "https://evil.example".to_owned()),
        ("origin", "null".to_owned()),
        ("sec-fetch-site", "cross-site".to_owned()),
        ("sec-fetch-site", "same-site".to_owned()),
        ("host", "evil.example".to_owned()),
    ] {
        assert_eq!(reload(std::slice::from_ref(&foreign)).await, StatusCode::FORBIDDEN, "{foreign:?}");
    }
    let page = rig.client.get(&own).send().await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    for (name, value) in
        [("x-content-type-options", "nosniff"), ("x-frame-options", "DENY"), ("referrer-policy", "same-origin")]
    {
        assert_eq!(page.headers()[name], value);
    }
    assert!(page.headers().get("set-cookie").is_none(), "there is no cookie that another site could use");
}

/// All of it at once, by a sender that is not ours.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_writes_with_its_certificate_and_a_password() {
    let Some(made) = certificates() else { return };
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "tls_server_config:\n  cert_file: {0}/server.pem\n  key_file: {0}/server.key\n  client_ca_file: {0}/ca.pem\n\
         \x20 client_auth_type: RequireAndVerifyClientCert\n  client_allowed_sans: [prometheus.local]\n\
         basic_auth_users:\n  writer: {1}\n",
        made.folder().display(),
        bcrypt::hash("of the writer", 10).unwrap()
    );
    let path = web_config(folder.path(), &text);
    let rig = start(folder.path(), |options| {
        options.door.web_config_file = Some(path);
        options.clock = system_clock();
        options.access = vec![
            Credential::new("writer", Role::Write, CredentialKind::WebUser, "").unwrap(),
            Credential::new("reader", Role::Read, CredentialKind::Certificate, "prometheus.local").unwrap(),
        ];
    });
    let rig = rig.await;
    let port = servers::spare_port().unwrap();
    let yaml = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
         remote_write:\n  - url: {}/api/v1/write\n    queue_config: {{batch_send_deadline: 200ms}}\n\
         \x20   basic_auth: {{username: writer, password: of the writer}}\n\
         \x20   tls_config: {{ca_file: {1}/ca.pem, cert_file: {1}/sender.pem, key_file: {1}/sender.key}}\n\
         scrape_configs:\n  - job_name: nothing\n    static_configs: [{{targets: [\"127.0.0.1:{port}\"]}}]\n",
        rig.base,
        made.folder().display()
    );
    let Some(prometheus) = servers::prometheus(&yaml, None).unwrap() else { return };
    let reader = client(&made, "ca", Some("sender"));
    let metrics = format!("{}/metrics", rig.base);
    let arrived = becomes(async || {
        let text = reader.get(&metrics).send().await.unwrap().text().await.unwrap();
        let unwanted = text.lines().find_map(|line| line.strip_prefix("forewarn_samples_unwanted_total "));
        unwanted.is_some_and(|count| count.parse::<f64>().unwrap() > 0.0)
    });
    assert!(arrived.await, "{}", prometheus.log());
    assert_eq!(get(&client(&made, "ca", Some("anna")), metrics).await, None, "not one of client_allowed_sans");
}
