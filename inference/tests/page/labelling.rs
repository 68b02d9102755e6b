//! Labels in somebody's hands: many at once, of what was missed and of a span of time, taken back and given back, and by a
//! link that was copied into a message.

use forewarn_schema::{FeedbackSubject, LabelSource, Verdict};

use super::shop::RunningShop;
use super::webdriver::Browser;
use super::{ENTER, assert_readable, assert_self_contained, keep_picture};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_targets_are_chosen_and_labelled_by_keys_alone() {
    let Some(browser) = Browser::start().await else { return };
    let shop = RunningShop::leaking().await;
    browser.open(&format!("{}/?service=cart", shop.url)).await;
    let app = shop.handle.app().clone();

    browser.script("document.querySelector('#targets tbody a').focus()").await;
    browser.press(&["x", "j", "x"]).await;
    browser.wait_for("document.querySelectorAll('#targets tbody input:checked').length === 2").await;
    for (name, scheme, width) in [("choose-light", "light", 1100), ("choose-phone-dark", "dark", 375)] {
        browser.emulate(scheme, width, 900).await;
        keep_picture(&browser, name).await;
        assert_readable(&browser, name).await;
    }
    browser.emulate("light", 1100, 900).await;
    browser.type_into("#choose input[name=note]", "a load test").await;
    browser.script("document.querySelector('#choose button[value=false_positive]').focus()").await;
    browser.press(&[ENTER]).await;
    browser.wait_for("document.querySelector('#toast').innerText.includes('False positive stored for 2')").await;
    let given = app.feedback().await.unwrap();
    assert_eq!(given.len(), 2);
    assert!(given.iter().all(|f| f.verdict == Verdict::FalsePositive && f.note.as_deref() == Some("a load test")));
    assert_ne!(given[0].subject, given[1].subject);
    assert_eq!(browser.script("return document.querySelectorAll('#targets input:checked').length").await, 0);

    // Undo takes both back, and undoing that gives both back as they were.
    browser.script("document.activeElement.blur()").await;
    browser.press(&["u"]).await;
    browser.wait_for("document.querySelector('#toast').innerText.includes('2 labels taken back')").await;
    assert!(app.feedback().await.unwrap().is_empty());
    browser.script("document.activeElement.blur()").await;
    browser.press(&["u"]).await;
    browser.wait_for("document.querySelector('#toast').innerText.includes('stored for 2')").await;
    assert_eq!(app.feedback().await.unwrap(), given);

    // All that is shown at once.
    browser.click("#choose input[data-all]").await;
    let (boxes, chosen) = ("#targets tbody input", "#targets tbody input:checked");
    browser
        .wait_for(&format!(
            "document.querySelectorAll('{boxes}').length === document.querySelectorAll('{chosen}').length"
        ))
        .await;
    assert_self_contained(&browser, &shop.url).await;

    // Nothing chosen is nothing labelled, and says so.
    browser.click("#choose input[data-all]").await;
    browser.click("#choose button[value=unclear]").await;
    browser.wait_for("document.querySelector('#toast').innerText.includes('Nothing is chosen')").await;
    assert_eq!(app.feedback().await.unwrap(), given);
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_miss_and_a_span_of_time_are_labelled_and_shown_with_who_and_why() {
    let Some(browser) = Browser::start().await else { return };
    let shop = RunningShop::leaking().await;
    let app = shop.handle.app().clone();
    browser.open(&format!("{}/labels", shop.url)).await;
    // By keys: what folds opens by Enter.
    browser.script("document.querySelector('#missed summary').focus()").await;
    browser.press(&[ENTER]).await;
    browser.wait_for("document.querySelector('#missed').open").await;
    browser.type_into("#missed input[name=service]", "search").await;
    browser.script("document.querySelector('#missed input[name=at]').value = '2026-01-08T14:20'").await;
    browser.type_into("#missed input[name=note]", "paged at lunch").await;
    keep_picture(&browser, "missed-light").await;
    assert_readable(&browser, "missed").await;
    browser.click("#missed button[value=missed]").await;
    browser.wait_for("document.querySelector('#labels li')").await;
    browser.click("#span summary").await;
    browser.type_into("#span input[name=service]", "cart").await;
    browser.script("const at = (name, value) => { document.querySelector(`#span input[name=${name}]`).value = value; }; at('from', '2026-01-08T02:00'); at('to', '2026-01-08T04:00')").await;
    browser.click("#span button[value=false_positive]").await;
    browser.wait_for("document.querySelectorAll('#labels li').length === 2").await;
    let text = browser.script("return document.querySelector('#labels').innerText").await;
    let text = text.as_str().unwrap();
    for said in ["search, out of memory at", "paged at lunch", "cart, everything from", "on this page"] {
        assert!(text.contains(said), "{said:?} is not in: {text}");
    }
    for (name, scheme, width) in [("given-light", "light", 1100), ("given-phone-dark", "dark", 375)] {
        browser.emulate(scheme, width, 900).await;
        keep_picture(&browser, name).await;
        assert_readable(&browser, name).await;
    }
    browser.emulate("light", 1100, 900).await;
    let given = app.feedback().await.unwrap();
    assert!(matches!(given[0].subject, FeedbackSubject::Span { kind: None, .. }));
    assert!(matches!(given[1].subject, FeedbackSubject::Breach { .. }));
    assert_eq!(given[1].verdict, Verdict::Missed);
    browser.click("#labels li button").await;
    browser.wait_for("document.querySelectorAll('#labels li').length === 1").await;
    browser.click("#toast form button").await;
    browser.wait_for("document.querySelectorAll('#labels li').length === 2").await;
    assert_eq!(app.feedback().await.unwrap(), given);
    assert_self_contained(&browser, &shop.url).await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_is_copied_followed_and_labels_when_its_button_is_pressed() {
    let Some(browser) = Browser::start().await else { return };
    let shop = RunningShop::leaking().await;
    let app = shop.handle.app().clone();
    browser.open(&format!("{}/requests", shop.url)).await;
    browser.click("#requests form[action='/actions/links'] button").await;
    browser.wait_for("document.querySelector('#aside').open").await;
    for (name, scheme, width) in [("links-light", "light", 1100), ("links-phone-dark", "dark", 375)] {
        browser.emulate(scheme, width, 900).await;
        keep_picture(&browser, name).await;
        assert_readable(&browser, name).await;
    }
    browser.emulate("light", 1100, 900).await;
    browser.click("#aside [data-copy]").await;
    browser.wait_for("/^(Copied|Marked)/.test(document.querySelector('#aside [data-copy]').textContent)").await;
    let link = browser.script("return document.querySelector('#aside input').value").await;
    let link = link.as_str().unwrap().to_owned();
    assert!(link.starts_with(&format!("{}/l/r-", shop.url)) && link.len() < 200, "{link}");
    browser.click("#aside form[method=dialog] button").await;
    browser.wait_for("!document.querySelector('#aside').open").await;
    assert_self_contained(&browser, &shop.url).await;

    browser.open(&link).await;
    for (name, scheme, width) in [("link-light", "light", 1100), ("link-phone-dark", "dark", 375)] {
        browser.emulate(scheme, width, 900).await;
        keep_picture(&browser, name).await;
        assert_readable(&browser, name).await;
    }
    assert!(app.feedback().await.unwrap().is_empty());
    browser.type_into("input[name=note]", "it leaked").await;
    browser.script("document.querySelector('button.primary').focus()").await;
    browser.press(&[ENTER]).await;
    browser.wait_for("document.querySelector('main').innerText.includes('by this link')").await;
    keep_picture(&browser, "link-given-phone-dark").await;
    assert_readable(&browser, "link given").await;
    let given = app.feedback().await.unwrap();
    assert_eq!((given.len(), given[0].source, given[0].verdict), (1, LabelSource::Link, Verdict::TruePositive));
    assert_eq!(given[0].note.as_deref(), Some("it leaked"));
    // What is labelled so is labelled on the request, too.
    browser.emulate("light", 1100, 900).await;
    browser.open(&format!("{}/requests", shop.url)).await;
    browser.wait_for("document.querySelector('#requests [data-verdict=true_positive]')").await;
    browser.open(&link).await;
    browser.click("button[name=undo]").await;
    browser.wait_for("document.querySelector('button.primary')").await;
    assert!(app.feedback().await.unwrap().is_empty());

    // Without the script, the links are a page.
    let request = app.requests().await.unwrap().swap_remove(0).request.id;
    let (status, page) = shop.submit("/actions/links", &[("request_id", &request), ("back", "/requests")]).await;
    assert!(status == 200 && page.contains(&format!("{}/l/{request}.rt.", shop.url)), "{status} {page}");
    assert_eq!(shop.submit("/actions/links", &[("request_id", "r-0")]).await.0, 404);
    browser.quit().await;
}
