//! What really happened, on the page.

use crate::shop::RunningShop;
use crate::webdriver::Browser;
use crate::{TAB, assert_readable, assert_self_contained, keep_picture};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_of_requests_is_seen_in_a_browser() {
    let Some(browser) = Browser::start().await else { return };
    let mut shop = RunningShop::leaking().await;
    browser.open(&format!("{}/outcomes", shop.url)).await;
    let text = browser.script("return document.getElementById('outcomes').innerText").await;
    assert!(text.as_str().unwrap().contains("Nothing is settled yet"), "{text}");

    // The leaks come to their limits, as was said.
    for _ in 0..16 {
        if shop.get("/outcomes").await.1.contains("data-became=\"breached\"") {
            break;
        }
        shop.goes_on(30).await;
    }
    browser.open(&format!("{}/outcomes", shop.url)).await;
    let text = browser.script("return document.getElementById('main').innerText").await;
    let text = text.as_str().unwrap().replace('\u{a0}', " ");
    for said in ["Last 7 days", "Last 28 days", "Announced", "100 % of", "Breached", "the breach came at", "request of"]
    {
        assert!(text.contains(said), "{said:?} is not in: {text}");
    }
    for (name, scheme, width) in
        [("outcomes-light", "light", 1100), ("outcomes-dark", "dark", 1100), ("outcomes-phone", "light", 375)]
    {
        browser.emulate(scheme, width, 900).await;
        keep_picture(&browser, name).await;
        assert_readable(&browser, name).await;
    }
    browser.emulate("light", 1100, 900).await;

    // By keyboard: the link of the navigation is reached and says where one is.
    browser.script("document.querySelector('nav a[href=\"/models\"]').focus()").await;
    browser.press(&[TAB]).await;
    let here =
        "document.activeElement.getAttribute('href') === '/outcomes' && document.activeElement.ariaCurrent === 'page'";
    browser.wait_for(here).await;

    // The request says it, too.
    browser.open(&format!("{}/requests", shop.url)).await;
    browser.wait_for("document.querySelector('#requests [data-became=breached], main [data-became=breached]')").await;
    assert_self_contained(&browser, &shop.url).await;
}
