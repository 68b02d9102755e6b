//! The page in the hands of who operates: stopping and resuming requests, silences, messages sent again, modes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use forewarn_inference::{AutonomyOptions, MessageState, Reach, Webhook, WebhookSecret};
use forewarn_schema::Mode;
use forewarn_testkit::http::{Response, TinyServer};

use super::shop::RunningShop;
use super::webdriver::Browser;
use super::{ENTER, assert_readable, assert_self_contained, keep_picture};

/// A receiver that refuses, until it is told otherwise.
fn receiver() -> (TinyServer, Arc<AtomicU16>, Webhook) {
    let answer = Arc::new(AtomicU16::new(400));
    let says = Arc::clone(&answer);
    let server = TinyServer::start(move |_| Response::status(says.load(Ordering::SeqCst))).unwrap();
    let secret = Some(WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap());
    let webhook = Webhook { url: server.url("/hook").parse().unwrap(), secret, reach: Reach::default() };
    (server, answer, webhook)
}

/// Light and dark, wide and narrow.
async fn look(browser: &Browser, name: &str) {
    for (scheme, width) in [("light", 1100), ("dark", 1100), ("light", 375), ("dark", 375)] {
        browser.emulate(scheme, width, 900).await;
        keep_picture(browser, &format!("{name}-{scheme}-{width}")).await;
        assert_readable(browser, &format!("{name}, {scheme}, {width}")).await;
    }
    browser.emulate("light", 1100, 900).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_stopped_silenced_and_sent_again_by_clicks() {
    let Some(browser) = Browser::start().await else { return };
    let (_receiver, answer, webhook) = receiver();
    let mut shop = RunningShop::leaking_to(Some(webhook)).await;
    let app = shop.handle.app().clone();
    browser.open(&format!("{}/requests", shop.url)).await;

    // What the receiver refused is seen with the reason, and arrives when it is sent again.
    browser.wait_for("document.querySelector('#letters')?.innerText.includes('the webhook answered 400')").await;
    let refused = app.outbox(&[MessageState::Refused]).await.unwrap().messages.len();
    let letters = |n: usize| format!("document.querySelectorAll('#letters li').length === {n}");
    browser.wait_for(&letters(refused)).await;
    assert!(refused > 0);
    look(&browser, "operate-letters").await;
    answer.store(200, Ordering::SeqCst);
    browser.click("#letters li button").await;
    browser.wait_for("document.getElementById('status').textContent === 'It is sent again'").await;
    browser.wait_for(&letters(refused - 1)).await;
    for _ in 0..100 {
        if !app.outbox(&[MessageState::Delivered]).await.unwrap().messages.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(app.outbox(&[MessageState::Delivered]).await.unwrap().messages.len(), 1);

    // Stopping, by keyboard: what it does is said first, and what was typed is the reason.
    assert_eq!(browser.script("return document.querySelector('#stopped')").await, serde_json::Value::Null);
    browser.script("document.querySelector('#stop summary').focus()").await;
    browser.press(&[ENTER]).await;
    browser.type_into("#stop input[name=note]", "the controller restarts everything").await;
    look(&browser, "operate-stop").await;
    browser.click("#stop button").await;
    browser
        .wait_for("document.querySelector('#stopped')?.innerText.includes('the controller restarts everything')")
        .await;
    browser.wait_for("document.querySelector('main .alert').innerText.includes('Requests are stopped since')").await;
    let approvable =
        "return [...new Set([...document.querySelectorAll('button[value=approve]')].map(b => !b.disabled))]";
    assert_eq!(browser.script(approvable).await, serde_json::json!([false]), "nothing can be approved meanwhile");
    let stop = app.safety().await.unwrap().stopped.unwrap();
    assert_eq!(stop.note.as_deref(), Some("the controller restarts everything"));
    let said = browser.script("return document.querySelector('#stopped').innerText").await;
    assert!(said.as_str().unwrap().contains(&format!("by {}.", stop.who)), "{said}");
    look(&browser, "operate-stopped").await;
    browser.click("#stopped button").await;
    browser.wait_for("document.querySelector('#stop') && !document.querySelector('#stopped, main .alert')").await;
    assert_eq!(app.safety().await.unwrap().stopped, None);
    assert_eq!(browser.script(approvable).await, serde_json::json!([true]));

    // A silence, ended before its time. A service must be named: leaving it out is not every service.
    browser.click("#silence summary").await;
    browser.click("#silence button.primary").await;
    assert!(app.silences().await.unwrap().is_empty());
    browser.type_into("#silence input[name=service]", "cart").await;
    browser.click("#silence option[value='4h']").await;
    browser.type_into("#silence input[name=note]", "we move it").await;
    browser.click("#silence button.primary").await;
    browser.wait_for("document.querySelector('#silences li')?.innerText.includes('we move it')").await;
    let silence = app.silences().await.unwrap().swap_remove(0);
    assert_eq!(silence.service.as_deref(), Some("cart"));
    assert_eq!(silence.until.seconds_since(silence.from), 4.0 * 3600.0);
    browser.wait_for("document.querySelector('#silence input[name=note]').value === ''").await;

    // A mode: as far as it is earned, and back to the default.
    browser.click("#mode summary").await;
    let choice = |value: &str| format!("#mode-1 option[value={value}]");
    let is = |what: &str, value: &str| format!("document.querySelector('{}').{what}", choice(value));
    browser.wait_for(&is("disabled", "automatic")).await;
    browser.wait_for(&is("selected", "default")).await;
    browser.click(&choice("approval")).await;
    look(&browser, "operate-set").await;
    browser.click("#mode-1 button").await;
    browser.wait_for("document.querySelector('#mode-1').innerText.includes('set by')").await;
    browser.wait_for(&is("selected", "approval")).await;
    assert_eq!(app.modes().await.unwrap().modes[0].rung.mode, Mode::Approval);
    browser.click(&choice("default")).await;
    browser.click("#mode-1 button").await;
    browser.wait_for("!document.querySelector('#mode-1').innerText.includes('set by')").await;
    assert!(app.modes().await.unwrap().modes.is_empty());

    browser.click("#silences li button").await;
    browser.wait_for("!document.querySelector('#silences li')").await;
    assert!(app.silences().await.unwrap().is_empty());
    shop.goes_on(1).await;
    assert_self_contained(&browser, &shop.url).await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_earned_is_taken_by_a_key_and_how_it_moved_is_told() {
    let Some(browser) = Browser::start().await else { return };
    let mut autonomy = AutonomyOptions::default();
    autonomy.ladder.dry_run = std::time::Duration::from_secs(60);
    let mut shop = RunningShop::leaking_under(None, autonomy).await;
    let app = shop.handle.app().clone();
    shop.goes_on(2).await;
    browser.open(&format!("{}/requests", shop.url)).await;
    browser.click("#mode summary").await;
    browser.wait_for("document.querySelector('#mode-1 .offer button')?.innerText.includes('Earned')").await;
    browser.wait_for("document.querySelector('#mode-1').innerText.includes('the dry run is over')").await;
    look(&browser, "operate-earned").await;
    browser.script("document.querySelector('#mode-1 .offer button').focus()").await;
    browser.press(&[ENTER]).await;
    browser.wait_for("document.querySelector('#mode-1').innerText.includes('0 of 20 successes verified')").await;
    assert_eq!(app.modes().await.unwrap().modes[0].rung.mode, Mode::Approval);
    browser.script("document.querySelector('#moves-1 summary').focus()").await;
    browser.press(&[ENTER]).await;
    browser.wait_for("document.querySelector('#moves-1').innerText.includes('set to approval by')").await;
    look(&browser, "operate-moved").await;
    assert_self_contained(&browser, &shop.url).await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operating_works_without_a_script_and_says_what_cannot_be() {
    let shop = RunningShop::leaking().await;
    let app = shop.handle.app().clone();
    let back = ("back", "/requests");
    let to_requests = (303, "/requests".to_owned());

    let (_, page) = shop.get("/requests").await;
    for quiet in ["id=\"stopped\"", "id=\"held\"", "id=\"letters\"", "<h2>Silenced</h2>"] {
        assert!(!page.contains(quiet), "{quiet} has nothing to say");
    }
    assert_eq!(shop.submit("/actions/stop", &[("note", " <b>no</b> "), back]).await, to_requests);
    let (_, page) = shop.get("/requests").await;
    assert!(page.contains("&#60;b&#62;no&#60;/b&#62;") && !page.contains("<b>no</b>"), "the note is not escaped");
    assert_eq!(shop.submit("/actions/resume", &[("note", ""), back]).await, to_requests);
    assert_eq!(app.safety().await.unwrap().stopped, None);

    let (status, said) = shop.submit("/actions/silence", &[("service", " "), ("length", "1h"), back]).await;
    assert!(status == 422 && said.contains("A silence needs a service"), "{status} {said}");
    assert_eq!(shop.submit("/actions/silence", &[("service", "cart"), ("length", "1y"), back]).await.0, 422);
    assert_eq!(
        shop.submit("/actions/silence", &[("service", ""), ("all", "1"), ("length", "1d"), back]).await,
        to_requests
    );
    let silence = app.silences().await.unwrap().swap_remove(0);
    assert_eq!((silence.service, silence.note), (None, None));
    for _ in 0..2 {
        assert_eq!(shop.submit("/actions/end-silence", &[("id", &silence.id), back]).await, to_requests);
    }

    let mode = |mode| [("service", "cart"), ("playbook", "restart"), ("mode", mode), ("note", ""), back];
    assert_eq!(shop.submit("/actions/mode", &mode("automatic")).await.0, 409, "it is not earned");
    assert_eq!(shop.submit("/actions/mode", &mode("approval")).await, to_requests);
    assert_eq!(shop.submit("/actions/mode", &mode("default")).await, to_requests);
    assert!(app.modes().await.unwrap().modes.is_empty());
    assert_eq!(shop.submit("/actions/resend", &[("id", "m-none"), back]).await.0, 404);

    let evil = shop.client.post(format!("{}/actions/stop", shop.url)).header("sec-fetch-site", "cross-site");
    assert_eq!(evil.form(&[("note", "evil")]).send().await.unwrap().status(), 403);
    assert_eq!(app.safety().await.unwrap().stopped, None);
}
