//! The command line. What each command takes and how its help teaches; what each does is in
//! `commands`.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use forewarn_models::lstm::Device;
use forewarn_schema::{BreachKind, Timestamp};

use crate::config::ConfigError;

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
  forewarn schedule                      the weekly job at its times
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
    /// Run at the times of `[train] schedule`, for ever
    Schedule(Schedule),
    /// List the runs: what each step said, and what it took
    Runs(Runs),
    /// Replay history through the serving path
    Backtest(Backtest),
    /// Anomaly scores of any CSV
    Score(Score),
    /// Look back at a week: what was said, what came of it, what was learnt
    Report(Report),
    /// The inference server
    Serve(Serve),
    /// Say what predictions turned out to be
    Label(Label),
    /// Every label so far, for others to read
    #[command(subcommand)]
    Labels(Labels),
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
  forewarn train --shard 1/4                        every fourth of the services, by name, from the first
  FOREWARN_SHARDS=4 JOB_COMPLETION_INDEX=0 forewarn train --run weekly-7     the same, as a pod of an Indexed Job

A part has the bits that it has in the whole. With --run, what people said is read once for all parts of that run, and a service that
this run has fitted is not fitted again: a part that died or comes twice goes on where it was.")]
pub(crate) struct Train {
    /// Uses samples before this time only; default: `[train] holdout` before the dataset's end.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<Timestamp>,
    /// Only this service; may be given more than once.
    #[arg(long, value_name = "S")]
    pub(crate) service: Vec<String>,
    #[command(flatten)]
    pub(crate) part: Part,
    /// It is a part of this run: begun again, it goes on.
    #[arg(long, value_name = "ID", env = "FOREWARN_RUN", hide_env_values = true)]
    pub(crate) run: Option<String>,
}

/// Which part of the services.
#[derive(Args, Debug)]
pub(crate) struct Part {
    /// Only the I-th of N parts of the services.
    #[arg(long, value_name = "I/N", value_parser = parse_shard)]
    shard: Option<Shard>,
    /// So many parts there are; which one this is, `--index` says.
    #[arg(long, value_name = "N", env = "FOREWARN_SHARDS")]
    shards: Option<usize>,
    /// Which of the parts, counted from 0.
    #[arg(long, value_name = "I", env = "JOB_COMPLETION_INDEX", hide_env_values = true)]
    index: Option<usize>,
}

impl Part {
    /// The part, in whichever way it was given; `None`: all.
    pub(crate) fn shard(&self) -> Result<Option<Shard>, ConfigError> {
        match (self.shard, self.shards, self.index) {
            (Some(shard), ..) => Ok(Some(shard)),
            (None, Some(count), Some(index)) if index < count => Ok(Some(Shard { index: index + 1, count })),
            (None, Some(count), index) => {
                Err(ConfigError::new(format!("wanted --index from 0 and below --shards {count}, got {index:?}")))
            }
            (None, None, _) => Ok(None),
        }
    }
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
    /// Also what the gate or its shadow period refuses; at once, unless --shadow says how long.
    #[arg(long)]
    pub(crate) force: bool,
    /// How long it scores beside what serves before it may take over, instead of `[train] shadow`; 0s: it takes over at once.
    #[arg(long, value_name = "DURATION", value_parser = forewarn_schema::parse_duration)]
    pub(crate) shadow: Option<std::time::Duration>,
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
  forewarn run --id weekly-29384820      begins this run, or goes on with it after its last step that was done
  forewarn run --id weekly-7 --no-pull --shard 2/20      trains, judges and promotes a part of the services, after `forewarn pull`

Trains on all but the last `[train] holdout`, judges on that, promotes what passes. Exit code 0 also where the
gate refused candidates: the report and the output say which. One at a time over one store (exit code 5); its record is
runs/<id>.json there, and `forewarn runs` lists them.")]
pub(crate) struct Run {
    /// Names the run; default: the time at which it begins.
    #[arg(long, value_name = "ID", env = "FOREWARN_RUN", hide_env_values = true)]
    pub(crate) id: Option<String>,
    /// Take the dataset as it is.
    #[arg(long)]
    pub(crate) no_pull: bool,
    #[command(flatten)]
    pub(crate) part: Part,
    /// The end of the history; default: now.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<Timestamp>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  forewarn schedule                      waits for each time, runs, and waits again; Ctrl-C ends it
  forewarn schedule --once               runs what is due now, if anything is, and ends: for a timer of yours

In forewarn.toml:
  [train]
  schedule = \"Sun 03:00 UTC\"            or \"daily 04:30 Europe/Berlin\"
  jitter = \"10m\"                       begins up to so much later, each host at its own time

Due is the last scheduled time that no run was done for: after a week away one run makes up for all that were missed, and over a
store that never had one the first begins at once. A run that failed is tried again after a quarter of an hour, then half an
hour and so on up to six, from the step that failed. Start as many as you like: one runs, the others wait for it to die.
`[train] in_server = true` has `forewarn serve` do the same.")]
pub(crate) struct Schedule {
    /// Run what is due now, if anything is, and end.
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  forewarn runs                          the last ten
  forewarn runs --json --last 100")]
pub(crate) struct Runs {
    /// So many at most, the newest first.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) last: usize,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  forewarn backtest --from 2026-01-03T00:00:00Z --to 2026-01-11T00:00:00Z --out predictions.jsonl
  forewarn backtest --from … --to … --run replay-7 --shard 1/4        a part of the services, into the store
  forewarn backtest --merge --run replay-7 --out predictions.jsonl    the parts as one file
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
    #[arg(long, value_name = "TIME", required_unless_present = "merge")]
    pub(crate) from: Option<Timestamp>,
    /// Up to and without this time.
    #[arg(long, value_name = "TIME", required_unless_present = "merge")]
    pub(crate) to: Option<Timestamp>,
    /// One prediction a line.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) part: Part,
    /// It is a part of this replay, and goes into the store as `backtests/ID/…`.
    #[arg(long, value_name = "ID", env = "FOREWARN_RUN", hide_env_values = true)]
    pub(crate) run: Option<String>,
    /// Make one file of the parts of `--run`, as if it had been one replay.
    #[arg(long)]
    pub(crate) merge: bool,
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
  forewarn report                                   the seven days up to the last midnight
  forewarn report --markdown | send-to-chat
  forewarn report --from 2026-11-01T00:00:00Z --to 2026-11-24T12:00:00Z --out november

Breaches that were announced and missed, false alarms with picture and cause, what was averted after a request, labels,
thresholds, models and playbooks, anomalies that nothing explains, what was held back, what computing took; each beside
as long a time before. From the records of the state database and the store alone: written again, it says the same. It
is kept in the store under reports/ and shown on the page; `forewarn run` writes it every week.")]
pub(crate) struct Report {
    /// From this time on; default: seven days before --to.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<Timestamp>,
    /// Up to and without this time; default: the last midnight of the dataset's time zone.
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<Timestamp>,
    /// A folder that takes week.html, week.md and week.json besides the store.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Print the Markdown for a chat.
    #[arg(long)]
    pub(crate) markdown: bool,
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
  forewarn label p-1a2b3c4d5e6f7a8b r-9f8e7d6c5b4a3f2e false_positive --note \"load test\"
  forewarn label missed --service cart --kind oom --at 2026-01-08T14:20:00Z
  forewarn label false_positive --service cart --from 2026-01-08T02:00:00Z --to 2026-01-08T04:00:00Z
  forewarn label --file labels.jsonl     one label a line, as POST /api/v1/feedback takes them; - is standard input
  forewarn label --undo f-01k...         takes a label back; --redo gives it back

Verdicts: true_positive, false_positive, missed, unclear. Several labels are stored all or none, at most 1000 at a time.")]
pub(crate) struct Label {
    /// Ids of predictions (p-…) and requests (r-…), and the verdict last.
    #[arg(value_name = "ID|VERDICT", required_unless_present_any = ["file", "undo", "redo"],
        conflicts_with_all = ["file", "undo", "redo"])]
    pub(crate) words: Vec<String>,
    /// Why, in your words.
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    /// A breach that nobody announced (missed), or all that was said in a span of time, of this service.
    #[arg(long, value_name = "S", requires = "words")]
    pub(crate) service: Option<String>,
    /// Of which kind; a span without is of every kind.
    #[arg(long, requires = "service", value_parser = kinds())]
    pub(crate) kind: Option<BreachKind>,
    /// When the breach came.
    #[arg(long, value_name = "TIME", requires = "service", conflicts_with_all = ["from", "to"])]
    pub(crate) at: Option<Timestamp>,
    /// When the span begins.
    #[arg(long, value_name = "TIME", requires_all = ["service", "to"])]
    pub(crate) from: Option<Timestamp>,
    /// When the span is over; not included.
    #[arg(long, value_name = "TIME", requires_all = ["service", "from"])]
    pub(crate) to: Option<Timestamp>,
    /// Labels from a file, one JSON object a line; - for standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["note", "undo", "redo"])]
    pub(crate) file: Option<PathBuf>,
    /// Take this label back; may be given more than once.
    #[arg(long, value_name = "LABEL_ID", conflicts_with_all = ["note", "redo"])]
    pub(crate) undo: Vec<String>,
    /// Give this label back that was taken back; may be given more than once.
    #[arg(long, value_name = "LABEL_ID", conflicts_with = "note")]
    pub(crate) redo: Vec<String>,
    /// Whose labels these are; default: who you are on this machine.
    #[arg(long, value_name = "NAME", env = "USER", hide_env = true, default_value = "shell")]
    pub(crate) who: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Labels {
    /// Write labels, and what the data settled, into one Parquet file
    Export(LabelsExport),
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  forewarn labels export --out labels.parquet
  forewarn labels export --out labels.parquet --since 2026-01-01T00:00:00Z

Columns: docs/formats/labels.md. In Python: pandas.read_parquet(\"labels.parquet\"); what counts has no outweighed_by.")]
pub(crate) struct LabelsExport {
    /// Where it goes; what is there is replaced.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Only what was given or settled at or after this time.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Timestamp>,
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
    /// All of it.
    pub(crate) const WHOLE: Self = Self { index: 1, count: 1 };

    /// Those of the sorted services that are in this part.
    pub(crate) fn of<'a>(self, services: impl Iterator<Item = &'a String>) -> std::collections::BTreeSet<String> {
        services.enumerate().filter(|(position, _)| self.holds(*position)).map(|(_, service)| service.clone()).collect()
    }

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

fn kinds() -> impl TypedValueParser<Value = BreachKind> {
    PossibleValuesParser::new(BreachKind::ALL.map(BreachKind::as_str)).try_map(|text| text.parse::<BreachKind>())
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
        let indexed = |shards, index| Part { shard: None, shards, index }.shard();
        assert_eq!(indexed(Some(4), Some(3)).unwrap(), Some(Shard { index: 4, count: 4 }), "a Job counts from 0");
        assert_eq!(indexed(None, Some(3)).unwrap(), None, "the index of somebody else's Job");
        assert!(indexed(Some(4), Some(4)).is_err());
        for text in ["0/3", "4/3", "1", "a/b", "1/0"] {
            assert!(parse_shard(text).is_err(), "{text}");
        }
    }
}
