use super::*;

fn access() -> Access {
    let of = |name, role, kind, secret| Credential::new(name, role, kind, secret).unwrap();
    Access::new(vec![
        of("prometheus", Role::Write, CredentialKind::Token, "a-token-of-length"),
        of("grafana", Role::Read, CredentialKind::Token, "another-token-here"),
        of("anna", Role::Operate, CredentialKind::Password, "correct horse"),
    ])
}

fn ask(access: &Access, method: Method, path: &str, authorization: &str) -> Result<Arc<str>, Refused> {
    ask_from([127, 0, 0, 9], &[], access, method, path, authorization)
}

fn ask_from(
    from: [u8; 4],
    names: &[String],
    access: &Access,
    method: Method,
    path: &str,
    authorization: &str,
) -> Result<Arc<str>, Refused> {
    let mut headers = HeaderMap::new();
    if !authorization.is_empty() {
        headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
    }
    let (users, from) = (Arc::default(), Some(from.into()));
    let asked = Asked { method: &method, path, headers: &headers, from, names, users: &users };
    tokio::runtime::Runtime::new().unwrap().block_on(access.check(asked))
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

#[test]
fn each_role_may_do_what_it_is_for_and_no_more() {
    let access = access();
    let (write, read, operate) =
        ("Bearer a-token-of-length", "bearer another-token-here", basic("anna", "correct horse"));
    for (method, path, who, may) in [
        (Method::POST, "/api/v1/write", write, true),
        (Method::GET, "/api/v1/predictions", write, false),
        (Method::GET, "/metrics", read, true),
        (Method::POST, "/api/v1/write", read, false),
        (Method::POST, "/api/v1/requests/r1/approve", read, false),
        (Method::POST, "/api/v1/requests/r1/approve", &operate, true),
        (Method::DELETE, "/api/v1/feedback/f1", &operate, true),
        (Method::GET, "/", &operate, true),
        (Method::POST, "/api/v1/write", &operate, false),
    ] {
        let answer = ask(&access, method.clone(), path, who);
        assert_eq!(answer.is_ok(), may, "{method} {path} as {who}: {answer:?}");
    }
    assert_eq!(&*ask(&access, Method::GET, "/", &operate).unwrap(), "anna");
    assert!(ask(&access, Method::GET, "/-/healthy", "").is_ok(), "a kubelet has no secret");
}

#[test]
fn a_secret_counts_only_as_what_it_is() {
    let access = access();
    for wrong in [
        "".to_owned(),
        "Bearer correct horse".to_owned(),
        basic("prometheus", "a-token-of-length"),
        basic("ann", "correct horse"),
        basic("anna", "correct horse "),
        "Digest a-token-of-length".to_owned(),
        "Basic !!!".to_owned(),
    ] {
        assert_eq!(ask(&access, Method::GET, "/", &wrong), Err(Refused::Unknown), "{wrong}");
    }
}

#[test]
fn guessing_from_one_address_has_to_wait_and_others_do_not() {
    let access = access();
    for _ in 0..MOST_FAILURES {
        assert_eq!(ask(&access, Method::GET, "/", "Bearer wrong"), Err(Refused::Unknown));
    }
    let right = "Bearer another-token-here";
    assert!(matches!(ask(&access, Method::GET, "/", right), Err(Refused::Wait { .. })));
    assert!(ask_from([127, 0, 0, 10], &[], &access, Method::GET, "/", right).is_ok());
}

#[test]
fn a_certificate_is_who_it_names_and_a_wrong_secret_beside_it_is_wrong() {
    let (write, certificate) = (Role::Write, CredentialKind::Certificate);
    let access = Access::new(vec![Credential::new("sender", write, certificate, "prometheus.local").unwrap()]);
    let named = |name: &str, authorization: &str| {
        let names = ["a common name".to_owned(), name.to_owned()];
        ask_from([127, 0, 0, 9], &names, &access, Method::POST, "/api/v1/write", authorization)
    };
    assert_eq!(&*named("prometheus.local", "").unwrap(), "sender");
    assert_eq!(named("other.local", ""), Err(Refused::Unknown));
    assert_eq!(named("prometheus.local", "Bearer prometheus.local"), Err(Refused::Unknown), "a name is no secret");
    // Where nobody has a role, whoever TLS let in may do everything, by their own name.
    let nobody = Access::new(vec![]);
    let names = ["anna".to_owned()];
    let answer = ask_from([127, 0, 0, 9], &names, &nobody, Method::POST, "/-/reload", "");
    assert_eq!(&*answer.unwrap(), "anna");
}

#[test]
fn weak_secrets_and_unusable_names_are_refused_and_no_secret_is_shown() {
    let new = |name, secret| Credential::new(name, Role::Read, CredentialKind::Token, secret);
    assert_eq!(new("a", "short").unwrap_err(), CredentialError::TooShort { got: 5 });
    assert!(matches!(new("a:b", "long-enough-secret"), Err(CredentialError::BadName { .. })));
    let shown = format!("{:?}", new("a", "long-enough-secret").unwrap());
    assert!(!shown.contains("secret") && !shown.contains("digest"), "{shown}");
}
