//! Headless Chromium through chromedriver: the few commands of W3C WebDriver that the tests need, and
//! Chromium's own for logs and emulation. Absent where Debian's packages are not installed.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

/// A browser; quits when it is told to, and is killed with its driver when dropped.
pub(crate) struct Browser {
    driver: Child,
    client: reqwest::Client,
    session: String,
    profile: tempfile::TempDir,
}

const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

impl Browser {
    /// `None`, with the reason printed, where Chromium or its driver is not installed.
    pub(crate) async fn start() -> Option<Self> {
        for program in ["chromium", "chromedriver"] {
            let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            if found.is_err() {
                eprintln!("skipped: {program} is not installed (Debian: apt-get install chromium chromium-driver)");
                return None;
            }
        }
        forewarn_storage::install_crypto_provider();
        let port = forewarn_testkit::servers::spare_port().unwrap();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
        let base = format!("http://127.0.0.1:{port}");
        let begun = Instant::now();
        while client.get(format!("{base}/status")).send().await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "chromedriver did not answer at {base}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let profile = tempfile::tempdir().unwrap();
        let user_data = format!("--user-data-dir={}", profile.path().display());
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "goog:chromeOptions": {
                "binary": "/usr/bin/chromium",
                "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                         "--hide-scrollbars", "--no-proxy-server", "--window-size=1100,900", user_data],
            },
        }}});
        let mut browser = Self { driver, client, session: format!("{base}/session"), profile };
        let created = browser.post("", capabilities).await;
        let id = created["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {created}"));
        browser.session = format!("{base}/session/{id}");
        Some(browser)
    }

    pub(crate) async fn open(&self, url: &str) {
        self.post("/url", json!({"url": url})).await;
    }

    /// Runs `script` as the body of a function and returns what it returns.
    pub(crate) async fn script(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({"script": script, "args": []})).await
    }

    /// Clicks the first element that `selector` finds, as a person would: it must be visible.
    pub(crate) async fn click(&self, selector: &str) {
        let id = self.find(selector).await;
        // What the page's own header covers cannot be clicked.
        self.script(&format!("document.querySelector({}).scrollIntoView({{block: 'center'}})", json!(selector))).await;
        self.post(&format!("/element/{id}/click"), json!({})).await;
    }

    /// Types into the first element that `selector` finds.
    pub(crate) async fn type_into(&self, selector: &str, text: &str) {
        let id = self.find(selector).await;
        self.post(&format!("/element/{id}/value"), json!({"text": text})).await;
    }

    /// Presses keys wherever the focus is.
    pub(crate) async fn press(&self, keys: &[&str]) {
        let actions: Vec<Value> = keys
            .iter()
            .flat_map(|key| [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})])
            .collect();
        self.post("/actions", json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})).await;
    }

    /// Drags over the element that `selector` finds, from one share of its width to another, at half of its height.
    pub(crate) async fn drag(&self, selector: &str, from: f64, to: f64) {
        self.script(&format!("document.querySelector({}).scrollIntoView({{block: 'center'}})", json!(selector))).await;
        let script = format!(
            "const b = document.querySelector({}).getBoundingClientRect(); return [b.left, b.width, b.top + b.height / 2]",
            json!(selector)
        );
        let place = self.script(&script).await;
        let number = |i: usize| place[i].as_f64().unwrap();
        let at = |share: f64| json!({"type": "pointerMove", "duration": 50, "x": (number(0) + share * number(1)) as i64, "y": number(2) as i64});
        let actions = json!([at(from), {"type": "pointerDown", "button": 0}, at((from + to) / 2.0), at(to), {"type": "pointerUp", "button": 0}]);
        self.post("/actions", json!({"actions": [{"type": "pointer", "id": "mouse", "actions": actions}]})).await;
    }

    /// Moves the mouse onto the element that `selector` finds, to this share of its width and half of its height.
    pub(crate) async fn hover(&self, selector: &str, share: f64) {
        let script = format!(
            "const e = document.querySelector({}); e.scrollIntoView({{block: 'center'}}); const b = e.getBoundingClientRect(); \
             return [b.left, b.width, b.top + b.height / 2]",
            json!(selector)
        );
        let place = self.script(&script).await;
        let number = |i: usize| place[i].as_f64().unwrap();
        let (x, y) = (number(0) + share * number(1), number(2));
        let moved = json!({"type": "pointerMove", "duration": 0, "x": x.round() as i64, "y": y as i64});
        self.post("/actions", json!({"actions": [{"type": "pointer", "id": "mouse", "actions": [moved]}]})).await;
    }

    /// What the page has cost so far in script, style and layout, in seconds of the browser's main thread.
    pub(crate) async fn scripting_seconds(&self) -> f64 {
        self.devtools("Performance.enable", json!({})).await;
        let metrics = self.devtools("Performance.getMetrics", json!({})).await;
        let wanted = ["ScriptDuration", "LayoutDuration", "RecalcStyleDuration"];
        let all = metrics["metrics"].as_array().unwrap();
        all.iter().filter(|m| wanted.iter().any(|w| m["name"] == *w)).map(|m| m["value"].as_f64().unwrap()).sum()
    }

    /// Waits until `condition` (an expression) is true; panics with the page's text after 10 s.
    pub(crate) async fn wait_for(&self, condition: &str) {
        let begun = Instant::now();
        while self.script(&format!("return Boolean({condition})")).await != json!(true) {
            if begun.elapsed() > Duration::from_secs(10) {
                let text = self.script("return document.body.innerText").await;
                panic!("waited 10 s for {condition}; the page says: {}", text.as_str().unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Light or dark, and the size of the window in CSS pixels.
    pub(crate) async fn emulate(&self, scheme: &str, width: u32, height: u32) {
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", media).await;
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// The whole page as a PNG, also what is below the window's edge.
    pub(crate) async fn screenshot(&self, path: &Path) {
        let params = json!({"captureBeyondViewport": true, "format": "png"});
        let shot = self.devtools("Page.captureScreenshot", params).await;
        let png = base64::engine::general_purpose::STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        std::fs::write(path, png).unwrap();
    }

    /// What was written to the console since the last call.
    pub(crate) async fn console(&self) -> Vec<String> {
        let log = self.post("/se/log", json!({"type": "browser"})).await;
        log.as_array().unwrap().iter().map(|entry| entry["message"].to_string()).collect()
    }

    /// Everything that was asked for over the network since the last call.
    pub(crate) async fn requested_urls(&self) -> BTreeSet<String> {
        let log = self.post("/se/log", json!({"type": "performance"})).await;
        let messages = log.as_array().unwrap().iter().map(|entry| entry["message"].as_str().unwrap().to_owned());
        messages
            .map(|text| serde_json::from_str::<Value>(&text).unwrap())
            .filter(|message| message["message"]["method"] == "Network.requestWillBeSent")
            .map(|message| message["message"]["params"]["request"]["url"].as_str().unwrap().to_owned())
            .collect()
    }

    pub(crate) async fn quit(mut self) {
        let _ = self.client.delete(&self.session).send().await;
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        let _ = std::fs::remove_dir_all(self.profile.path());
    }

    async fn find(&self, selector: &str) -> String {
        let found = self.post("/element", json!({"using": "css selector", "value": selector})).await;
        found[ELEMENT].as_str().unwrap_or_else(|| panic!("nothing matches {selector}")).to_owned()
    }

    async fn devtools(&self, command: &str, params: Value) -> Value {
        self.post("/goog/cdp/execute", json!({"cmd": command, "params": params})).await
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let response = self.client.post(format!("{}{path}", self.session)).json(&body).send().await.unwrap();
        let is_ok = response.status().is_success();
        let answer: Value = response.json().await.unwrap();
        assert!(is_ok, "chromedriver refused {path} {body}: {}", answer["value"]["message"]);
        answer["value"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
