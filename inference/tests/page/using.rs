//! The page in somebody's hands: filtering, looking closer, keys, undoing, and staying fresh without disturbing.

use forewarn_schema::LabelSet;
use serde_json::{Value, json};

use super::shop::RunningShop;
use super::webdriver::Browser;
use super::{ENTER, assert_readable, assert_self_contained, keep_picture};

const DOWN: &str = "\u{e015}";
const RIGHT: &str = "\u{e014}";

async fn text(browser: &Browser, script: &str) -> String {
    browser.script(&format!("return String({script})")).await.as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_is_in_the_url_and_survives_a_reload() {
    let Some(browser) = Browser::start().await else { return };
    let shop = RunningShop::leaking().await;
    browser.open(&shop.url).await;
    let watched = shop.handle.app().predictions().await.len() as u64;
    assert_eq!(browser.script("return document.querySelectorAll('#targets tbody tr').length").await, watched);

    browser.type_into("form[data-live] input[name=service]", "CHECK").await;
    browser.wait_for("location.search === '?service=CHECK'").await;
    let only_checkout = "[...document.querySelectorAll('#targets tbody a')].every((a) => a.textContent === 'checkout')";
    browser.wait_for(only_checkout).await;
    browser.script("const s = document.querySelector('select[name=kind]'); s.value = 'oom'; s.dispatchEvent(new Event('input', {bubbles: true}))").await;
    browser.wait_for("location.search === '?service=CHECK&kind=oom'").await;
    browser.wait_for("document.querySelectorAll('#targets tbody tr').length === 2").await;
    browser.open(&format!("{}/?service=CHECK&kind=oom", shop.url)).await;
    assert_eq!(text(&browser, "document.querySelector('select[name=kind]').value").await, "oom");
    assert_eq!(text(&browser, "document.querySelector('input[name=service]').value").await, "CHECK");
    browser.wait_for(only_checkout).await;
    keep_picture(&browser, "filtered-light").await;

    // A filter that nothing matches says so and leads out.
    browser.open(&format!("{}/?service=nobody", shop.url)).await;
    let said = text(&browser, "document.querySelector('#targets').innerText").await;
    assert!(said.contains("No target matches the filter") && said.contains(&format!("Show all {watched}")), "{said}");
    keep_picture(&browser, "no-match-light").await;
    assert_readable(&browser, "no match").await;
    assert_self_contained(&browser, &shop.url).await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_stays_fresh_and_disturbs_nobody() {
    let Some(browser) = Browser::start().await else { return };
    let mut shop = RunningShop::leaking().await;
    browser.open(&shop.url).await;
    // Somebody is writing a note, has scrolled, and looks at a button.
    browser.type_into("#breaches .card input[name=note]", "half a no").await;
    browser.script("scrollTo(0, 300); window.kept = document.activeElement; window.same = true").await;
    let before = text(&browser, "document.querySelector('#breaches .when').innerText").await;
    shop.goes_on(7).await;
    browser.wait_for(&format!("document.querySelector('#breaches .when').innerText !== {}", json!(before))).await;
    let state = browser
        .script("return [scrollY, document.activeElement === window.kept, window.kept.value, window.same, window.kept.isConnected]")
        .await;
    assert_eq!(state, json!([300, true, "half a no", true, true]), "scroll, focus, note, no reload");

    // Who has the page already gets no bytes; who has another gets it, compressed.
    let first = shop.client.get(&shop.url).header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(first.headers()["content-encoding"], "gzip");
    let tag = first.headers()["etag"].clone();
    let again = shop.client.get(&shop.url).header("if-none-match", tag).send().await.unwrap();
    assert_eq!((again.status().as_u16(), again.bytes().await.unwrap().len()), (304, 0));
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chart_is_looked_at_closer_by_buttons_dragging_and_keys() {
    let Some(browser) = Browser::start().await else { return };
    let shop = RunningShop::leaking().await;
    let leak = shop.handle.app().predictions().await.swap_remove(0);
    let path = format!("/targets/{}", leak.target_key().replace('/', "%2F").replace('{', "%7B").replace('}', "%7D"));
    browser.open(&format!("{}{path}", shop.url)).await;
    let span = "(() => { const p = document.querySelector('.chart-wide .fw-plot').dataset; return (p.to - p.from) / 60000 })()";
    let minutes = async || text(&browser, span).await.parse::<f64>().unwrap();
    let day = minutes().await;
    assert!(day > 1440.0, "a day and what is ahead, got {day} min");

    browser.click(".ranges a[href$='range=1h']").await;
    browser.wait_for("location.search === '?range=1h'").await;
    browser.wait_for(&format!("{span} < 200")).await;
    assert_eq!(text(&browser, "document.querySelector('.ranges [aria-current]').textContent").await, "1 h");

    // Dragging over the right half of the plot shows that half.
    let whole = minutes().await;
    browser.drag(".chart-wide .fw-plot", 0.5, 0.98).await;
    browser.wait_for("location.search.startsWith('?from=')").await;
    browser.wait_for(&format!("{span} < {whole} * 0.6")).await;
    keep_picture(&browser, "zoomed-light").await;
    assert_readable(&browser, "zoomed").await;

    // Keys: closer, later, and back to the day.
    browser.script("document.getElementById('chart').focus()").await;
    let dragged = minutes().await;
    browser.press(&["-"]).await;
    browser.wait_for(&format!("{span} > {dragged} * 1.2")).await;
    let from = "document.querySelector('.chart-wide .fw-plot').dataset.from";
    let before = text(&browser, from).await;
    browser.press(&["+"]).await;
    browser.wait_for(&format!("{from} !== '{before}'")).await;
    browser.press(&[RIGHT]).await;
    browser.press(&["0"]).await;
    browser.wait_for("location.search === ''").await;
    browser.wait_for(&format!("{span} > 1440")).await;
    assert_eq!(text(&browser, "document.activeElement.id").await, "chart", "the keys stay where they were");

    // What was shared shows the same; nonsense shows the day.
    let at = leak.at.millis();
    let (_, page) = shop.get(&format!("{path}?from={}&to={at}", at - 1_800_000)).await;
    assert!(page.contains(&format!("data-from=\"{}\" data-to=\"{at}\"", at - 1_800_000)), "not the half hour");
    for odd in ["?from=9&to=1", "?range=x", "?from=-9223372036854775808&to=9223372036854775807"] {
        assert_eq!(shop.get(&format!("{path}{odd}")).await.0, 200, "{odd}");
    }
    assert_self_contained(&browser, &shop.url).await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_lead_through_the_list_and_undo_a_label() {
    let Some(browser) = Browser::start().await else { return };
    let shop = RunningShop::leaking().await;
    browser.open(&shop.url).await;
    let focused = "document.activeElement.getAttribute('href')";
    let entries: Vec<Value> = browser
        .script("return [...document.querySelectorAll('[data-entry]')].map((a) => a.getAttribute('href'))")
        .await
        .as_array()
        .unwrap()
        .clone();
    browser.press(&["j"]).await;
    assert_eq!(text(&browser, focused).await, entries[0].as_str().unwrap());
    browser.press(&["j", "j", "k"]).await;
    assert_eq!(text(&browser, focused).await, entries[1].as_str().unwrap());
    browser.press(&[DOWN]).await;
    assert_eq!(text(&browser, focused).await, entries[2].as_str().unwrap());
    keep_picture(&browser, "entry-focused").await;
    browser.press(&["?"]).await;
    browser.wait_for("document.getElementById('keys').open").await;
    keep_picture(&browser, "keys-light").await;
    browser.press(&["\u{e00c}"]).await;
    browser.wait_for("!document.getElementById('keys').open").await;
    browser.press(&["/"]).await;
    assert_eq!(text(&browser, "document.activeElement.name").await, "service");
    // What is typed into a field is text, not a key.
    browser.press(&["j"]).await;
    assert_eq!(text(&browser, "document.activeElement.value").await, "j");

    // One click labels; the toast's Undo really deletes.
    browser.open(&shop.url).await;
    browser.click("#breaches .card button[value=false_positive]").await;
    browser.wait_for("document.querySelector('#toast form button')").await;
    let said = text(&browser, "document.querySelector('#toast').innerText").await;
    assert!(said.contains("False positive stored for cart") && said.contains("Undo"), "{said}");
    for (name, scheme, width) in [("toast-light", "light", 1100), ("toast-phone-dark", "dark", 375)] {
        browser.emulate(scheme, width, 900).await;
        keep_picture(&browser, name).await;
        assert_readable(&browser, name).await;
    }
    browser.emulate("light", 1100, 900).await;
    assert_eq!(shop.handle.app().feedback().await.unwrap().len(), 1);
    browser.script("document.activeElement.blur()").await;
    browser.press(&["u"]).await;
    browser.wait_for("document.querySelector('#toast').innerText.includes('Label taken back')").await;
    assert!(shop.handle.app().feedback().await.unwrap().is_empty());

    // What cannot be done any more is said without taking the page away.
    let label = "const f = document.querySelector('#breaches form[action=\"/actions/label\"]'); f.elements.prediction_id.value = 'p-0'; f.querySelector('button').click()";
    browser.script(label).await;
    browser.wait_for("document.querySelector('#toast').innerText.includes('Not here')").await;
    assert!(browser.script("return document.querySelectorAll('#breaches .card').length").await != 0);
    browser.press(&["j", ENTER]).await;
    browser.wait_for("document.querySelector('.crumbs')").await;
    browser.quit().await;
}

/// 250 services of four pods, each with a pool; one in fifty leaks.
fn pools(minute: u64) -> Vec<(LabelSet, f64)> {
    let series =
        |name: &str, service: &str, pod: &str| LabelSet::from([("__name__", name), ("service", service), ("pod", pod)]);
    let mut scrape = Vec::new();
    for target in 0..1000_u64 {
        let (service, pod) =
            (format!("service-{:03}", target / 4), format!("service-{:03}-{}", target / 4, target % 4));
        let leak = if target % 50 == 0 { 0.5 * minute as f64 } else { 0.0 };
        let wobble = ((target * 7 + minute * 13) % 5) as f64;
        scrape.push((series("hikaricp_connections_active", &service, &pod), 20.0 + wobble + leak));
        scrape.push((series("hikaricp_connections_max", &service, &pod), 100.0));
    }
    scrape
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_targets_stay_fluid() {
    let shop = RunningShop::empty().await;
    shop.send_series(0..75, pools).await;
    assert_eq!(shop.handle.app().predictions().await.len(), 1000);
    let mut times = Vec::new();
    let (mut packed, mut plain) = (0, 0);
    for _ in 0..20 {
        let begun = std::time::Instant::now();
        let response = shop.client.get(&shop.url).header("accept-encoding", "gzip").send().await.unwrap();
        packed = response.bytes().await.unwrap().len();
        times.push(begun.elapsed());
        plain = shop.get("/").await.1.len();
    }
    times.sort();
    eprintln!(
        "1,000 targets: {plain} bytes, {packed} compressed; median {:?}, slowest {:?} of 20",
        times[10], times[19]
    );
    assert!(packed < 120_000 && plain < 700_000, "{plain} bytes, {packed} compressed");
    assert!(times[10].as_millis() < 400, "{:?}", times[10]);

    let Some(browser) = Browser::start().await else { return };
    browser.open(&shop.url).await;
    browser.wait_for("document.documentElement.classList.contains('js')").await;
    for (name, scheme, width) in [("thousand-light", "light", 1100), ("thousand-phone-dark", "dark", 375)] {
        browser.emulate(scheme, width, 900).await;
        keep_picture(&browser, name).await;
        assert_readable(&browser, name).await;
    }
    browser.emulate("light", 1100, 900).await;
    let nodes = browser.script("return document.querySelectorAll('*').length").await.as_u64().unwrap();
    let before = browser.scripting_seconds().await;
    shop.send_series(75..76, pools).await;
    browser.wait_for("document.querySelector('#clock time').textContent.includes('01:15')").await;
    let spent = browser.scripting_seconds().await - before;
    eprintln!(
        "1,000 targets: {nodes} elements; {:.0} ms of script, style and layout for a refresh with a new step",
        spent * 1000.0
    );
    assert!(nodes < 4000, "{nodes} elements");
    browser.click(".pager a[rel=next]").await;
    browser
        .wait_for(
            "location.search === '?page=2' && document.querySelector('.pager').innerText.includes('51 to 100 of 1000')",
        )
        .await;
    assert_eq!(browser.script("return document.querySelectorAll('#targets tbody tr').length").await, 50);
    browser.quit().await;
}
