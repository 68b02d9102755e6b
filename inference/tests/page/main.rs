//! The page, as a person meets it: in headless Chromium, and without any script.
//!
//! `FOREWARN_SCREENSHOTS=DIR` keeps pictures of it, in light, in dark and as on a phone.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot set up its case has failed")]

mod labelling;
mod operating;
mod outcomes;
mod reading;
mod shop;
mod using;
mod webdriver;

use std::path::PathBuf;

use forewarn_schema::{LabelSource, RequestStatus, Verdict};

use self::shop::RunningShop;
use self::webdriver::Browser;

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

async fn keep_picture(browser: &Browser, name: &str) {
    if let Some(folder) = std::env::var_os("FOREWARN_SCREENSHOTS") {
        browser.screenshot(&PathBuf::from(folder).join(format!("{name}.png"))).await;
    }
}

/// No error on the console, and nothing asked of anybody but `origin` (and Chromium's own first tab).
async fn assert_self_contained(browser: &Browser, origin: &str) {
    let console = browser.console().await;
    assert!(console.is_empty(), "the console says: {console:#?}");
    for url in browser.requested_urls().await {
        let is_ours = url.starts_with(origin) || ["data:", "about:", "chrome:"].iter().any(|of| url.starts_with(of));
        assert!(is_ours, "{url} was asked for by a page of {origin}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breach_is_seen_labelled_and_decided_in_a_browser() {
    let Some(browser) = Browser::start().await else { return };
    let shop = RunningShop::leaking().await;
    browser.open(&shop.url).await;

    // What will breach, when, and why.
    let text = browser.script("return document.getElementById('breaches').innerText").await;
    let text = text.as_str().unwrap().replace('\u{a0}', " ");
    for said in
        ["Connection pool exhausted", "cart", "Out of memory", "checkout", "in ", " to ", "UTC", "Why", "Expected"]
    {
        assert!(text.contains(said), "{said:?} is not in: {text}");
    }
    let charts = browser.script("return document.querySelectorAll('#breaches .chart-wide svg').length").await;
    assert!(charts.as_u64().unwrap() >= 2, "got {charts} charts");

    for (name, scheme, width) in
        [("home-light", "light", 1100), ("home-dark", "dark", 1100), ("home-phone", "light", 375)]
    {
        browser.emulate(scheme, width, 900).await;
        keep_picture(&browser, name).await;
        assert_readable(&browser, name).await;
    }
    browser.emulate("light", 1100, 900).await;

    // A label, with a note, is stored and shown; undo takes it back.
    browser.type_into("#breaches .card input[name=note]", "seen on the dashboard").await;
    browser.click("#breaches .card button[value=true_positive]").await;
    browser.wait_for("document.querySelector('#breaches .card [data-verdict=true_positive]')").await;
    let stored = shop.handle.app().feedback().await.unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!((stored[0].verdict, stored[0].source), (Verdict::TruePositive, LabelSource::Page));
    assert_eq!(stored[0].note.as_deref(), Some("seen on the dashboard"));
    let announced = browser.script("return document.getElementById('status').textContent").await;
    assert_eq!(announced, "Label stored", "a screen reader hears nothing");
    browser.click("#breaches .card .labels form[action='/actions/unlabel'] button").await;
    browser.wait_for("!document.querySelector('#breaches .card [data-verdict]')").await;
    assert!(shop.handle.app().feedback().await.unwrap().is_empty());

    // The keyboard alone: to the first link, which skips to the content; and a button by Enter.
    browser.open(&shop.url).await;
    browser.press(&[TAB]).await;
    browser.wait_for("document.activeElement.className === 'skip'").await;
    browser.script("document.querySelector('#breaches .card button[value=unclear]').focus()").await;
    browser.press(&[ENTER]).await;
    browser.wait_for("document.querySelector('#breaches .card [data-verdict=unclear]')").await;

    // A request is approved.
    browser.open(&format!("{}/requests", shop.url)).await;
    for (name, scheme, width) in [("requests-light", "light", 1100), ("requests-phone-dark", "dark", 375)] {
        browser.emulate(scheme, width, 900).await;
        keep_picture(&browser, name).await;
        assert_readable(&browser, name).await;
    }
    browser.emulate("light", 1100, 900).await;
    assert!(browser.script("return document.querySelectorAll('#requests [data-status=open]').length").await != 0);
    browser.click("#requests button[value=approve]").await;
    browser.wait_for("document.querySelector('#requests [data-status=approved]')").await;
    let requests = shop.handle.app().requests().await.unwrap();
    assert_eq!(requests.iter().filter(|r| r.status == RequestStatus::Approved).count(), 1);

    // A candidate is promoted and taken back.
    browser.open(&format!("{}/models", shop.url)).await;
    for (name, scheme, width) in [("models-light", "light", 1100), ("models-phone-dark", "dark", 375)] {
        browser.emulate(scheme, width, 900).await;
        keep_picture(&browser, name).await;
        assert_readable(&browser, name).await;
    }
    browser.emulate("light", 1100, 900).await;
    browser.click("#models form[action='/actions/promote'] button").await;
    browser.wait_for("document.getElementById('status').textContent.startsWith('Promoted')").await;
    let serving = |service: &'static str| {
        let app = shop.handle.app().clone();
        async move { app.models().await.unwrap().into_iter().find(|m| m.service == service).unwrap().serving }
    };
    assert!(serving("cart").await.is_some());
    browser.click("#models article:has(form[action='/actions/rollback']) button").await;
    browser.wait_for("document.getElementById('status').textContent.startsWith('Rolled')").await;
    assert_eq!(serving("cart").await, None);

    for page in ["labels", "reports"] {
        browser.open(&format!("{}/{page}", shop.url)).await;
        for (name, scheme, width) in [("light", "light", 1100), ("phone-dark", "dark", 375)] {
            browser.emulate(scheme, width, 900).await;
            keep_picture(&browser, &format!("{page}-{name}")).await;
            assert_readable(&browser, page).await;
        }
        browser.emulate("light", 1100, 900).await;
    }
    let reports = shop.get("/reports").await.1;
    assert!(reports.contains("The newest evaluation says: 1 of 1 candidates passes."), "a week is no evaluation");
    let week = format!("/reports/{}", shop::WEEK);
    assert!(reports.contains(&format!("{week}/week.html")) && reports.contains(&format!("{week}/week.json")));
    assert!(shop.get(&format!("{week}/week.html")).await.1.contains("a quiet week"));

    // A target in full.
    browser.open(&shop.url).await;
    browser.click("#breaches .card h3 a").await;
    browser.wait_for("document.querySelector('.crumbs')").await;
    for (name, scheme, width) in [("target-light", "light", 1100), ("target-phone-dark", "dark", 375)] {
        browser.emulate(scheme, width, 900).await;
        keep_picture(&browser, name).await;
        assert_readable(&browser, name).await;
    }
    browser.emulate("light", 1100, 900).await;
    for signal in ["certificate", "disk", "errors"] {
        let quiet = shop.handle.app().predictions().await.into_iter().find(|p| p.signal == signal).unwrap();
        browser.open(&format!("{}/targets/{}", shop.url, quiet.target_key().replace('/', "%2F"))).await;
        keep_picture(&browser, &format!("target-{signal}")).await;
        assert_readable(&browser, signal).await;
    }
    assert_self_contained(&browser, &shop.url).await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_server_says_what_to_do() {
    let shop = RunningShop::empty().await;
    let (status, page) = shop.get("/").await;
    assert_eq!(status, 200);
    assert!(page.contains("Warming up: no samples yet"), "{page}");
    assert!(page.contains(&format!("url: {}/api/v1/write", shop.url)), "the snippet names another server: {page}");

    let Some(browser) = Browser::start().await else { return };
    browser.open(&shop.url).await;
    keep_picture(&browser, "empty-light").await;
    assert_readable(&browser, "empty").await;
    browser.emulate("dark", 375, 900).await;
    keep_picture(&browser, "empty-phone-dark").await;
    assert_readable(&browser, "empty on a phone").await;
    assert_self_contained(&browser, &shop.url).await;
    browser.open(&format!("{}/targets/nobody%2Fmemory%7B%7D", shop.url)).await;
    keep_picture(&browser, "error-phone-dark").await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forms_work_without_a_script_and_only_from_our_own_page() {
    let shop = RunningShop::leaking().await;
    let prediction = shop.handle.app().predictions().await.swap_remove(0);

    let fields = [
        ("prediction_id", prediction.id.as_str()),
        ("verdict", "false_positive"),
        ("note", " <b>no</b> "),
        ("back", "/#l-1"),
    ];
    let (status, back) = shop.submit("/actions/label", &fields).await;
    assert!(status == 303 && back.starts_with("/?labelled=f-") && back.ends_with("#l-1"), "{status} {back}");
    let (_, page) = shop.get(back.trim_end_matches("#l-1")).await;
    assert!(page.contains("False positive stored for"), "no way to undo is offered: {page}");
    let (_, page) = shop.get("/labels").await;
    assert!(page.contains("&#60;b&#62;no&#60;/b&#62;") && !page.contains("<b>no</b>"), "the note is not escaped");
    let label = shop.handle.app().feedback().await.unwrap().swap_remove(0);
    let undo = [("id", label.id.as_str()), ("back", "https://evil.example/")];
    let (status, back) = shop.submit("/actions/unlabel", &undo).await;
    assert_eq!((status, back.as_str()), (303, &*format!("/?unlabelled={}", label.id)), "not where the form says");
    assert!(shop.handle.app().feedback().await.unwrap().is_empty());
    // And undoing that gives it back as it was.
    let (_, page) = shop.get(&back).await;
    assert!(page.contains("Label taken back") && page.contains("action=\"/actions/relabel\""), "{page}");
    let (status, back) = shop.submit("/actions/relabel", &undo).await;
    assert_eq!((status, back.as_str()), (303, &*format!("/?labelled={}", label.id)));
    assert_eq!(shop.handle.app().feedback().await.unwrap(), std::slice::from_ref(&label));
    shop.submit("/actions/unlabel", &undo).await;

    // What cannot be done is a page that says so, with the status that the API would give.
    assert_eq!(shop.submit("/actions/label", &[("prediction_id", "p-0"), ("verdict", "unclear")]).await.0, 404);
    assert_eq!(shop.submit("/actions/label", &[("prediction_id", "p-0"), ("verdict", "maybe")]).await.0, 422);
    assert_eq!(shop.submit("/actions/decide", &[("id", "r-0"), ("decision", "approve")]).await.0, 404);
    for (action, service, status) in [("promote", "cart", 303), ("rollback", "cart", 303), ("promote", "nobody", 409)] {
        let (got, said) = shop.submit(&format!("/actions/{action}"), &[("service", service)]).await;
        assert_eq!(got, status, "{action} {service}: {said}");
    }
    let request = shop.handle.app().requests().await.unwrap().swap_remove(0).request.id;
    assert_eq!(shop.submit("/actions/decide", &[("id", &request), ("decision", "reject")]).await.0, 303);
    assert_eq!(shop.submit("/actions/decide", &[("id", &request), ("decision", "approve")]).await.0, 409);

    for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")] {
        let evil = shop.client.post(format!("{}/actions/label", shop.url)).header(name, value).form(&fields);
        assert_eq!(evil.send().await.unwrap().status(), 403, "{name}: {value}");
    }
    assert!(shop.handle.app().feedback().await.unwrap().is_empty());

    let (status, report) = shop.get("/reports/20260119T000000Z/report.html").await;
    assert_eq!((status, report.contains("Recall 1.0")), (200, true));
    assert_eq!(shop.get("/reports/20260119T000000Z/..%2Freport.html").await.0 / 100, 4);

    let response = shop.client.get(&shop.url).send().await.unwrap();
    let policy = response.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("script-src 'self';") && !policy.contains("unsafe-inline"), "{policy}");
}

/// Nothing wider than the window, every control named, no id twice, and text that stands out from its
/// background as WCAG 2.2 AA asks (4.5 to 1).
async fn assert_readable(browser: &Browser, what: &str) {
    let problems = browser.script(include_str!("readable.js")).await;
    assert_eq!(problems, serde_json::json!([]), "{what}");
}
