//! `forewarn demo`: the whole loop on a made-up shop, through the same code as everything else. Two weeks
//! of history are pulled, models trained, judged and promoted; then half a day is replayed live: metrics
//! go in over remote write, a connection leak and a memory leak run towards their limits, a request goes
//! out to a webhook, and the label of what it was comes back.

mod history;
mod live;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use forewarn_datasets::Dataset;
use forewarn_inference::WebhookSecret;
use forewarn_schema::TimeRange;
use forewarn_testkit::webhook::WebhookReceiver;
use forewarn_testkit::{Shop, ShopParams};
use serde_json::json;

use super::open::OpenSource;
use super::{pull, run};
use crate::cli::Demo;
use crate::config::Config;
use crate::outcome::Outcome;
use crate::progress::say;
use history::GeneratedHistory;
use live::Live;

pub(super) async fn demo(arguments: &Demo) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    let shop = Arc::new(Shop::new(ShopParams::demo(arguments.seed)));
    let live_start = ShopParams::demo_live_start();
    let history = TimeRange::new(shop.range().start, live_start)?;
    // Lives until the end of the demo, then it is removed.
    let temporary = match arguments.dir {
        Some(_) => None,
        None => Some(tempfile::tempdir().context("cannot make a temporary directory")?),
    };
    let dir = arguments.dir.as_deref().or(temporary.as_ref().map(tempfile::TempDir::path)).unwrap_or(Path::new("."));
    let receiver = WebhookReceiver::start(0).context("cannot start the webhook's receiver")?;
    let secret = WebhookSecret::generate().reveal();
    let config = configuration(dir, &receiver, &secret, arguments)?;

    say(&format!("a shop of {} services, {}", shop.params().services.len(), history));
    let source = GeneratedHistory::new(Arc::clone(&shop), history);
    let dataset = Dataset::open(&config.store_url).await?;
    let sources = [OpenSource::Queries(Box::new(source))];
    let pulled = pull::pull_from(&config, &dataset, &sources, Some(history.start), Some(history.end)).await?;
    say(pulled.text().trim_end());
    let learnt = run::learn(&config, Some(history.end), pulled.clone()).await?;
    for line in learnt.text().lines().skip(pulled.text().trim_end().lines().count()) {
        say(line);
    }

    let live = Live { config: &config, shop: &shop, receiver: &receiver, secret: &secret, from: live_start };
    let pace = if arguments.once { Duration::ZERO } else { Duration::from_millis(200) };
    let story = live.replay(arguments.once, pace).await?;
    let seconds = began.elapsed().as_secs_f64();
    let text = format!("{}\ndemo done in {seconds:.0} s", story.text());
    Ok(Outcome::new(text, json!({"learnt": learnt.json(), "live": story.json(), "seconds": seconds})))
}

/// What a user would write, with less training than theirs: three services must be done in a minute.
fn configuration(dir: &Path, receiver: &WebhookReceiver, secret: &str, arguments: &Demo) -> anyhow::Result<Config> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let text = format!(
        "[store]\nurl = {:?}\n[train]\nlstm_steps = 40\nholdout = \"3d\"\n[serve]\nlisten = \"{}\"\n\
         [requests]\nwebhook = {:?}\nwebhook_secret = {secret:?}\n",
        dir.display().to_string(),
        arguments.listen,
        receiver.url(),
    );
    Ok(Config::from_text(Path::new("the demo's configuration"), &text, &[])?)
}
