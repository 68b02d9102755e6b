//! The command line. What each command takes and how its help teaches; what each does is in
//! `commands`.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use forewarn_models::lstm::Device;
use forewarn_schema::{Timestamp, Verdict};

/// Tells from Prometheus metrics when a service will run out of memory, connections, error budget, disk
/// or certificate lifetime.
#[derive(Debug, Parser)]
#[command(
    name = "forewarn",
    version,
    after_help = "\
Start here:
  forewarn demo                          a made-up shop, no configuration, no network
  forewarn check                         what a configuration would train on
  forewarn run                           pull, train, evaluate, promote: the weekly job
  forewarn serve                         live: remote write in, predictions and requests out

Ten lines are enough (forewarn.toml):
  [store]
  url = \"file:///var/lib/forewarn\"
  [[source]]
  kind = \"prometheus\"
  url  = \"http://127.0.0.1:9090\"
  [requests]
  webhook = \"http://127.0.0.1:9000/hook\"

FOREWARN_<SECTION>_<KEY> overrides a key of the file (FOREWARN_STORE_URL, FOREWARN_SERVE_LISTEN, …);
FOREWARN_LOG sets what is logged (info, debug, forewarn_datasets=debug, …).

Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 3 upstream unreachable,
            4 refused by a gate, 5 in use by another process, 6 storage full."
)]
pub(crate) struct Cli {
    /// The configuration.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        default_value = "forewarn.toml",
        env = "FOREWARN_CONFIG",
        hide_env_values = true
    )]
    pub(crate) config: PathBuf,

    /// Print one JSON object on standard output instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the whole loop on a made-up shop: train, serve, a leak, a request, a label
    Demo(Demo),
    /// Validate the configuration, the sources and the store, and say what would be trained on
    Check,
    /// Fetch history into the dataset: only what is missing, resumable
    Pull(Pull),
    /// Fit candidates, one bundle a service
    Train(Train),
    /// Judge candidates against the current models and the baselines; write the report
    Evaluate(Evaluate),
    /// Make candidates current where the gate lets them
    Promote(Promote),
    /// Go back to the model before, or to the rules
    Rollback(Services),
    /// List what the registry holds
    Models(Services),
    /// Pull, train, evaluate and promote what passes: what the weekly job calls
    Run(Run),
    /// Replay history through the serving path
    Backtest(Backtest),
    /// Anomaly scores of any CSV
    Score(Score),
    /// The inference server
    Serve(Serve),
    /// Say what a prediction turned out to be
    Label(Label),
    /// List messages that did not leave; send one again
    Outbox(Outbox),
    /// The state database: predictions, requests, labels
    #[command(subcommand)]
    State(State),
    /// Measure this machine: JSON on standard output
    #[command(subcommand)]
    Bench(Bench),
}

#[derive(Debug, Subcommand)]
pub(crate) enum State {
    /// Copy a SQLite state into one file, also while a server is using it
    Backup(StateBackup),
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  forewarn state backup --to /backup/forewarn-state-2026-01-11.db

The copy is of one instant. It becomes the state again when it is put in its place while no server runs (operations.md).
A state in PostgreSQL is copied with pg_dump.")]
pub(crate) struct StateBackup {
    /// Where the copy goes; must not be there yet.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: PathBuf,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  forewarn demo                          then open http://127.0.0.1:9797/ ; Ctrl-C ends it
  forewarn demo --once                   ends by itself after the first request was sent and labelled
  forewarn demo --dir shop-demo          keeps the dataset, the models and the report")]
pub(crate) struct Demo {
    /// End with exit code 0 after the first request was delivered and labelled.
    #[arg(long)]
    pub(crate) once: bool,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9797", value_name = "IP:PORT")]
    pub(crate) listen: std::net::SocketAddr,
    /// Keep everything in this directory instead of a temporary one.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Another shop.
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u64,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  forewarn pull                          the last 14 days ([dataset] history) up to now, whole days first
  forewarn pull --from 2026-01-01T00:00:00Z --to 2026-01-11T00:00:00Z
  forewarn pull --source thanos          one source of several

Run again it fetches only what is new; killed in the middle, it goes on where it was.
Times are Unix seconds or RFC 3339.")]
pub(crate) struct Pull {
    /// From this time on; default: `[dataset] history` before the end.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<Timestamp>,
    /// Up to and without this time; default: the end of the source's data, at most now.
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<Timestamp>,
    /// Only this source.
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  forewarn train --until 2026-01-08T00:00:00Z       uses samples before that time only
  forewarn train --service cart --service checkout
  forewarn train --shard 1/4                        the first quarter of the services, by name")]
pub(crate) struct Train {
    /// Uses samples before this time only; default: `[train] holdout` before the dataset's end.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<Timestamp>,
    /// Only this service; may be given more than once.
    #[arg(long, value_name = "S")]
    pub(crate) service: Vec<String>,
    /// Only the I-th of N parts of the services.
    #[arg(long, value_name = "I/N", value_parser = parse_shard)]
    pub(crate) shard: Option<Shard>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  forewarn evaluate                      from the newest candidate's training end to the dataset's end
  forewarn evaluate --from 2026-01-08T00:00:00Z --to 2026-01-11T00:00:00Z

Candidates are judged on history that they have not seen: --from may not be before their training end.")]
pub(crate) struct Evaluate {
    /// From this time on; default: where the newest candidate's training data ends.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<Timestamp>,
    /// Up to and without this time; default: the dataset's end.
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<Timestamp>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  forewarn promote                       every candidate that the last evaluation passed
  forewarn promote --service cart
  forewarn promote --service cart --force    against the gate; the reason is kept

A candidate that did not beat the baselines on held-out history is refused (exit code 4) and the baselines serve.")]
pub(crate) struct Promote {
    /// Only this service; may be given more than once.
    #[arg(long, value_name = "S")]
    pub(crate) service: Vec<String>,
    /// Also what the gate refuses.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Services {
    /// Only this service; may be given more than once.
    #[arg(long, value_name = "S")]
    pub(crate) service: Vec<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  forewarn run                           everything up to now
  forewarn run --until 2026-01-11T00:00:00Z

Trains on all but the last `[train] holdout`, judges on that, promotes what passes. Exit code 0 also where the
gate refused candidates: the report and the output say which.")]
pub(crate) struct Run {
    /// The end of the history; default: now.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<Timestamp>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  forewarn backtest --from 2026-01-03T00:00:00Z --to 2026-01-11T00:00:00Z --out predictions.jsonl
  forewarn backtest --from … --to … --out noisy.jsonl --min-probability 0.05 --persistence 0
  forewarn backtest --from … --to … --out learnt.jsonl --min-probability 0.05 --persistence 0 --learn --passes 2

Replays the dataset through the code that serves, with the models that are current now; models trained on part
of the range have seen it, and the output says so.

With --learn every announcement is labelled by what the data show to have become of it, a share of them wrongly
(--label-error), and thresholds move as they would in the server: it shows what labels are worth on your own history.
--passes replays the range as so many weeks in a row, with the labels kept; the file holds the last. The range's
predictions are then all in memory, about half a kilobyte each.")]
pub(crate) struct Backtest {
    /// From this time on.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Timestamp,
    /// Up to and without this time.
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Timestamp,
    /// One prediction a line.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Time between predictions; the state sees every step.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    pub(crate) every: std::time::Duration,
    #[command(flatten)]
    pub(crate) learning: BacktestLearning,
}

/// What labels would have taught.
#[derive(Args, Debug)]
pub(crate) struct BacktestLearning {
    /// Label every announcement by what became of it, and let thresholds learn from that.
    #[arg(long)]
    pub(crate) learn: bool,
    /// The share of labels that say the opposite of what is so.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, value_parser = parse_share, requires = "learn")]
    pub(crate) label_error: f64,
    /// Which labels those are.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "learn")]
    pub(crate) seed: u64,
    /// Replay the range so often, one after the other.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=52))]
    pub(crate) passes: u32,
    /// Announce from this probability on, whatever the models learnt when they were trained.
    #[arg(long, value_name = "P", value_parser = parse_share)]
    pub(crate) min_probability: Option<f64>,
    /// Steps that urgency must last, also where a target races to its limit; with --min-probability.
    #[arg(long, value_name = "STEPS", requires = "min_probability")]
    pub(crate) persistence: Option<u32>,
}

fn parse_share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| format!("wanted a number from 0 to 1, got {text:?}"))?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(format!("wanted a number from 0 to 1, got {text}")) }
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  forewarn score --input cpu.csv --out scores.csv
  forewarn score --input cpu.csv.gz --train-rows 2000 --out scores.csv

The first column is a time (Unix seconds, RFC 3339 or YYYY-MM-DD HH:MM:SS), the others are numbers (empty or NaN:
missing). The output is the time and anomaly_score in 0..1, one row per input row; row i is scored from rows up to
i only. From 0.9 on it is worth waking somebody up: something new, said once; below 0.5 it says how far the row and
those before it lie from the usual. With --train-rows N the usual is learnt from the first N rows and then no more;
without, it learns as it goes. Needs no configuration.")]
pub(crate) struct Score {
    /// The CSV to score, plain or under gzip; one header line.
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// Learn from the first N rows only, at least 20.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(20..))]
    pub(crate) train_rows: Option<u64>,
    /// Where the scores go.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  forewarn serve
  forewarn serve --listen 0.0.0.0:9797

In prometheus.yml:
  remote_write:
    - url: http://127.0.0.1:9797/api/v1/write
  scrape_configs:
    - job_name: forewarn
      static_configs: [{targets: [\"127.0.0.1:9797\"]}]

The page is at /, the API's description at /api/v1/openapi.json. SIGHUP or POST /-/reload takes new models in.")]
pub(crate) struct Serve {
    /// Where to listen instead of `[serve] listen`.
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) listen: Option<std::net::SocketAddr>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  forewarn label p-1a2b3c4d5e6f7a8b true_positive
  forewarn label p-1a2b3c4d5e6f7a8b false_positive --note \"load test\"")]
pub(crate) struct Label {
    /// As the prediction, the request or the page shows it.
    pub(crate) prediction_id: String,
    /// What it turned out to be.
    #[arg(value_parser = verdicts())]
    pub(crate) verdict: Verdict,
    /// Why, in your words.
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  forewarn outbox                        what waits, was refused or expired, with the last error
  forewarn outbox resend r-1a2b3c4d5e6f7a8b
  forewarn outbox resend r-1a2b3c4d5e6f7a8b --after-expiry")]
pub(crate) struct Outbox {
    #[command(subcommand)]
    pub(crate) action: Option<OutboxAction>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OutboxAction {
    /// Send a message again, with the same id
    Resend {
        /// As the list shows it.
        event_id: String,
        /// Also where it has expired: it leaves within five minutes, and says of itself that it is expired.
        #[arg(long)]
        after_expiry: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Fit and score an isolation forest on a CSV of numbers
    IsolationForest(BenchForest),
    /// Train and run an LSTM forecaster on random windows
    Lstm(BenchLstm),
}

#[derive(Args, Debug)]
pub(crate) struct BenchForest {
    /// A header and numeric columns.
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// How many trees.
    #[arg(long, default_value_t = 100)]
    pub(crate) trees: usize,
    /// Rows a tree is grown from.
    #[arg(long, default_value_t = 256)]
    pub(crate) sample: usize,
    /// Threads that score.
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
    /// Same seed, same forest.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Args, Debug)]
pub(crate) struct BenchLstm {
    /// Windows a step.
    #[arg(long, default_value_t = 64)]
    pub(crate) batch: usize,
    /// Steps a window.
    #[arg(long, default_value_t = 60)]
    pub(crate) lookback: usize,
    /// Numbers a step.
    #[arg(long, default_value_t = 8)]
    pub(crate) features: usize,
    /// Width of the state.
    #[arg(long, default_value_t = 32)]
    pub(crate) hidden: usize,
    /// Numbers out.
    #[arg(long, default_value_t = 12)]
    pub(crate) outputs: usize,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
    /// What computes: flex, ndarray or cuda.
    #[arg(long, default_value = "flex", value_parser = parse_device)]
    pub(crate) device: Device,
}

/// The I-th of N, I from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) index: usize,
    pub(crate) count: usize,
}

impl Shard {
    /// Whether the service at `position` of the sorted list is in this part.
    pub(crate) fn holds(self, position: usize) -> bool {
        position % self.count == self.index - 1
    }
}

fn parse_shard(text: &str) -> Result<Shard, String> {
    let wrong = || format!("wanted I/N with 1 <= I <= N, got {text:?}");
    let (index, count) = text.split_once('/').ok_or_else(wrong)?;
    let shard = Shard { index: index.parse().map_err(|_| wrong())?, count: count.parse().map_err(|_| wrong())? };
    if shard.index == 0 || shard.index > shard.count { Err(wrong()) } else { Ok(shard) }
}

fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    let duration = forewarn_schema::parse_duration(text).map_err(|e| e.to_string())?;
    if duration.is_zero() { Err("must be more than nothing".to_owned()) } else { Ok(duration) }
}

/// As `[train] device` is written.
fn parse_device(text: &str) -> Result<Device, String> {
    let known = || format!("wanted flex, ndarray or cuda, got {text:?}");
    serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(|_| known())
}

fn verdicts() -> impl TypedValueParser<Value = Verdict> {
    PossibleValuesParser::new(Verdict::ALL.map(Verdict::as_str)).try_map(|text| text.parse::<Verdict>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn shards_cover_every_service_once() {
        for position in 0..10 {
            let holding = (1..=3).filter(|i| Shard { index: *i, count: 3 }.holds(position)).count();
            assert_eq!(holding, 1);
        }
        for text in ["0/3", "4/3", "1", "a/b", "1/0"] {
            assert!(parse_shard(text).is_err(), "{text}");
        }
    }
}
