//! A chart is read at a time: by pointing at it, by keys alone, and from a page that stays fresh meanwhile.

use forewarn_plots::{Unit, format_day_time};
use forewarn_schema::{BreachKind, Sample};

use super::shop::RunningShop;
use super::webdriver::Browser;
use super::{assert_readable, assert_self_contained, keep_picture};

const END: &str = "\u{e010}";
const HOME: &str = "\u{e011}";
const LEFT: &str = "\u{e012}";
const ESCAPE: &str = "\u{e00c}";
const PLOT: &str = ".chart-wide .fw-plot";

async fn said(browser: &Browser) -> String {
    let both = "const s = document.getElementById('reading'), t = document.getElementById('reading-text').textContent; \
                return s.getAttribute('aria-valuetext') === t ? t : `${s.getAttribute('aria-valuetext')} but ${t}`";
    browser.script(both).await.as_str().unwrap().to_owned()
}

fn of(sample: &Sample) -> String {
    format!("{} UTC: {}", format_day_time(sample.at), Unit::Count.format(sample.value))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chart_is_read_by_pointing_and_by_keys_and_stays_read() {
    let Some(browser) = Browser::start().await else { return };
    let mut shop = RunningShop::leaking().await;
    let predictions = shop.handle.app().predictions().await;
    let leak = predictions.into_iter().find(|p| p.kind == BreachKind::PoolExhaustion).unwrap();
    let view = shop.handle.app().view(&leak.target_key()).await.unwrap();
    let path = format!("{}/targets/{}", shop.url, leak.target_key().replace('/', "%2F"));
    browser.open(&format!("{path}?range=1h")).await;
    browser.wait_for("document.getElementById('reading-text').textContent !== ''").await;

    // Without anybody pointing it says what was seen last, and marks nothing.
    let newest = view.history.last().unwrap();
    assert!(said(&browser).await.starts_with(&of(newest)), "{} and not {}", said(&browser).await, of(newest));
    assert_eq!(browser.script("return document.querySelectorAll('.read-at').length").await, 0);

    // Where the mouse is: the value and what is normal then.
    let sample = view.history[view.history.len() - 20];
    let span =
        browser.script(&format!("const d = document.querySelector('{PLOT}').dataset; return [+d.from, +d.to]")).await;
    let (from, to) = (span[0].as_f64().unwrap(), span[1].as_f64().unwrap());
    let share = |sample: &Sample| (sample.at.millis() as f64 - from) / (to - from);
    browser.hover(PLOT, share(&sample)).await;
    let read = said(&browser).await;
    assert!(read.starts_with(&of(&sample)), "{read} and not {}", of(&sample));
    let band = view.expected.iter().any(|b| b.at == sample.at);
    assert_eq!(read.contains(", normally "), band, "{read}");
    let x = "(() => { const [a, b] = ['.read-at', '.chart-wide .fw-plot'].map((s) => document.querySelector(s).getBoundingClientRect()); \
             return (a.left - b.left) / b.width })()";
    let at = browser.script(&format!("return {x}")).await.as_f64().unwrap();
    assert!((at - share(&sample)).abs() < 0.01, "the line is at {at}, not at {}", share(&sample));
    keep_picture(&browser, "reading-light").await;

    // A new step comes: what is read stays.
    let clock = "document.querySelector('#clock time').textContent";
    let before = browser.script(&format!("return {clock}")).await.as_str().unwrap().to_owned();
    shop.goes_on(2).await;
    browser.wait_for(&format!("{clock} !== '{before}'")).await;
    assert_eq!(said(&browser).await, read);
    assert_eq!(browser.script("return document.querySelectorAll('.read-at').length").await, 1);

    // By keys alone: the last one is a forecast, then one back after the other, the first one, and nothing.
    browser.script("document.getElementById('reading').focus()").await;
    browser.press(&[END]).await;
    let last = said(&browser).await;
    assert!(last.contains(" UTC: forecast ") && last.contains(" to "), "{last}");
    browser.press(&[LEFT]).await;
    assert_ne!(said(&browser).await, last);
    browser.press(&[HOME]).await;
    let first = said(&browser).await;
    assert_ne!(first, last);
    let dot = "getComputedStyle(document.querySelector('.read-at i')).display !== 'none'";
    assert!(browser.script(&format!("return {dot}")).await.as_bool().unwrap());
    browser.press(&[LEFT]).await;
    assert_eq!(said(&browser).await, first, "there is nothing before it");
    assert_eq!(browser.script("return location.search").await, "?range=1h", "the chart's own keys are not meant");
    browser.press(&[END]).await;
    for (name, scheme, width) in
        [("reading-dark", "dark", 1100), ("reading-phone", "light", 375), ("reading-phone-dark", "dark", 375)]
    {
        browser.emulate(scheme, width, 900).await;
        browser.script("dispatchEvent(new Event('resize'))").await;
        let plot = if width > 600 { ".chart-wide .fw-plot" } else { ".chart-narrow .fw-plot" };
        let inside = format!(
            "const [a, b] = ['.read-at', '{plot}'].map((s) => document.querySelector(s).getBoundingClientRect()); \
             return a.left >= b.left && a.right <= b.right + 1 && Math.abs(a.top - b.top) < 1"
        );
        assert!(browser.script(&inside).await.as_bool().unwrap(), "the line is beside the plot: {name}");
        keep_picture(&browser, name).await;
        assert_readable(&browser, name).await;
    }
    browser.press(&[ESCAPE]).await;
    assert_eq!(browser.script("return document.querySelectorAll('.read-at').length").await, 0);
    assert_self_contained(&browser, &shop.url).await;
    browser.quit().await;
}
