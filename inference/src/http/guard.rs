//! What holds for every request and every answer: who may ask ([`crate::access`]), and that no other site's page in the
//! browser of somebody who may asks in their name.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::{Instrument as _, Span, field};

use super::Problem;
use crate::access::{Asked, Refused, Role, as_caller};
use crate::app::AppState;
use crate::door::Peer;

/// Everything that the page needs is in the page: nothing is loaded from elsewhere, nothing frames it.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; form-action 'self'; \
         frame-ancestors 'none'; base-uri 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Lets a request through or turns it away, within a span of its own.
pub(super) async fn guard(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let span = span_of(&request);
    let response = admit(app, request, next).instrument(span.clone()).await;
    span.record("http.response.status_code", response.status().as_u16());
    if response.status().is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    response
}

/// Named as the semantic conventions of OpenTelemetry name it: the method and the route, not the path, which may name anything.
fn span_of(request: &Request) -> Span {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    tracing::debug_span!(
        "request",
        otel.name = format!("{} {route}", request.method()).trim_end(),
        otel.kind = "server",
        otel.status_code = field::Empty,
        http.request.method = %request.method(),
        http.route = route,
        http.response.status_code = field::Empty,
    )
}

async fn admit(app: AppState, request: Request, next: Next) -> Response {
    let foreign = foreign_host(&app, request.headers()).or_else(|| foreign_origin(request.method(), request.headers()));
    let door = app.0.door.now();
    let (from, caller) = {
        let peer = request.extensions().get::<ConnectInfo<Peer>>().map(|info| &info.0);
        // Who serves the router with a listener of their own knows the address at most.
        let elsewhere = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
        let from = peer.map(|peer| peer.addr).or(elsewhere).map(|addr| addr.ip());
        let names = peer.map_or(&[][..], |peer| &peer.names);
        let (method, path, headers) = (request.method(), request.uri().path(), request.headers());
        let caller = app.0.access.check(Asked { method, path, headers, from, names, users: &door.users }).await;
        (from, not_too_often(&app, method, path, from, caller))
    };
    let mut response = match (foreign, caller) {
        (Some(reason), _) => Problem::new(StatusCode::FORBIDDEN, reason).into_response(),
        (None, Err(refused)) => turn_away(&app, refused, from),
        (None, Ok(caller)) => as_caller(caller, next.run(request)).await,
    };
    for (name, value) in &*door.headers {
        response.headers_mut().insert(name, value.clone());
    }
    for (name, value) in HEADERS {
        // A handler that knows better (the page's own policy) has set its header already; so has web.yml.
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Who was let in, unless they ask more often than they may. Callers who have to say who they are go by their name, others by
/// their address; who may not ask at all uses up what their address may.
fn not_too_often(
    app: &AppState,
    method: &Method,
    path: &str,
    from: Option<IpAddr>,
    caller: Result<Arc<str>, Refused>,
) -> Result<Arc<str>, Refused> {
    let needed = Role::needed(method, path);
    let rate = match needed {
        None if path.starts_with("/l/") => &app.0.links,
        None => return caller,
        Some(Role::Write) => &app.0.writes,
        Some(Role::Read | Role::Operate) => &app.0.requests,
    };
    let address = from.map_or_else(|| "unknown".to_owned(), |from| from.to_string());
    let who = match &caller {
        Ok(name) if app.0.asks_who() && needed.is_some() => name,
        Err(Refused::NotAllowed { name, .. }) => name,
        Ok(_) | Err(Refused::Unknown) => address.as_str(),
        Err(Refused::Wait { .. } | Refused::TooOften { .. }) => return caller,
    };
    match rate.take(who, Instant::now()) {
        Ok(()) => caller,
        Err(seconds) => Err(Refused::TooOften { seconds }),
    }
}

fn turn_away(app: &AppState, refused: Refused, from: Option<IpAddr>) -> Response {
    let from = from.map_or_else(|| "unknown".to_owned(), |from| from.to_string());
    let (reason, problem) = match refused {
        Refused::Unknown => ("unknown", Problem::new(StatusCode::UNAUTHORIZED, "who asks must say so, and be known")),
        Refused::NotAllowed { name, needed } => {
            let needed = format!("{needed:?}").to_lowercase();
            tracing::warn!(%name, needed, %from, "asked for more than they may");
            let detail = format!("{name} may not do this: it needs the role {needed}");
            ("not_allowed", Problem::new(StatusCode::FORBIDDEN, detail))
        }
        Refused::Wait { seconds } => {
            let detail = format!("too many wrong secrets from {from}; wait {seconds} s");
            ("wait", Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(seconds))
        }
        Refused::TooOften { seconds } => {
            let detail = format!("too many requests; wait {seconds} s");
            ("too_often", Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(seconds))
        }
    };
    app.0.metrics.turned_away(reason);
    let status = problem.status();
    let mut response = problem.into_response();
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Basic realm=\"forewarn\", charset=\"UTF-8\", Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// A name that somebody else's DNS gave this machine's address to (rebinding). Only where the server
/// cannot be reached but from this machine: elsewhere it may have any name.
fn foreign_host(app: &AppState, headers: &HeaderMap) -> Option<String> {
    if !app.0.options.listen.ip().is_loopback() {
        return None;
    }
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        // The colons of an IPv6 address in brackets are not before a port.
        if port.ends_with(']') { host } else { name }
    });
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let public = app.0.options.public_url.as_ref().and_then(|url| url.host_str());
    let known = bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok() || public == Some(name);
    (!known).then(|| format!("this server is not called {name:?}; use its address, or set serve.public_url"))
}

/// A change asked for by another site's page. A browser says where a request comes from; other
/// clients say nothing and are let through.
fn foreign_origin(method: &Method, headers: &HeaderMap) -> Option<String> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let site = text(HeaderName::from_static("sec-fetch-site"));
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return Some("changes must come from this server's own page, got a cross-site request".to_owned());
    }
    let (origin, host) = (text(header::ORIGIN)?, text(header::HOST)?);
    let same = origin.split_once("://").is_some_and(|(_, of)| of == host);
    (!same).then(|| format!("changes must come from this server's own page, got origin {origin:?}"))
}
