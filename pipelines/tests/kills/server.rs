//! A real `forewarn serve` that can be killed and started again at the same address.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use forewarn_testkit::http;
use forewarn_testkit::servers::spare_port;
use forewarn_testkit::webhook::WebhookReceiver;

use crate::support::{forewarn, write_config};

/// A fine step, so that an episode fits into the test; one secret for all servers.
pub(crate) fn config(folder: &Path, state: &str, receiver: &WebhookReceiver) -> PathBuf {
    let rest = format!(
        "state = {state:?}\n[dataset]\nstep = \"5s\"\n[signals]\npresets = [\"hikaricp\"]\n[serve]\nlateness = \"1s\"\n\
         [requests]\nwebhook = {:?}\nwebhook_secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\nmode = \"approval\"\n",
        receiver.url()
    );
    write_config(folder, &rest)
}

pub(crate) struct Server {
    config: PathBuf,
    log: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Server {
    pub(crate) fn new(config: &Path, folder: &Path, name: &str) -> Self {
        let (config, log) = (config.to_owned(), folder.join(format!("{name}.log")));
        Self { config, log, port: spare_port().unwrap(), child: None }
    }

    /// Starts it, and does not wait.
    pub(crate) fn start(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = forewarn();
        command.args(["serve", "--listen", &format!("127.0.0.1:{}", self.port), "--config"]).arg(&self.config);
        self.child = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// SIGKILL: it does not get to say anything.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn is_ready(&self) -> bool {
        http::get(&format!("{}/-/ready", self.url())).is_ok_and(|answer| answer.status == 200)
    }

    pub(crate) fn leads(&self) -> bool {
        self.metric("forewarn_leads") == Some(1.0)
    }

    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let answer = http::get(&format!("{}/metrics", self.url())).ok()?;
        answer.body_text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(30).collect();
            println!("{}: {}", self.log.display(), last.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}
