//! What a server has seen, kept over a restart: the samples that its expressions still read, and the memory of every service.
//! Written beside the models every few minutes and at the end; read once, at the start. What was decided is not here: that is in
//! the state database. The format is in `docs/formats/checkpoint.md`.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::time::Duration;

use forewarn_features::promql::KeptSeries;
use forewarn_models::decision::DecisionMemory;
use forewarn_models::scorer::ServiceMemory;
use forewarn_models::settle::{WatchMemory, WatchedService};
use forewarn_schema::{Step, Timestamp};
use forewarn_storage::{Store, StoreError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::scoring::Scorer;

const MAGIC: &[u8; 8] = b"FWCHKPT\n";
const FORMAT_VERSION: u16 = 2;
/// Without what was noticed of targets.
const FORMAT_WITHOUT_WATCH: u16 = 1;
/// Of one record; a service with a thousand targets takes 3 MiB.
const MAX_RECORD: usize = 256 << 20;
/// Of all.
const MAX_BYTES: u64 = 16 << 30;
/// Series written while samples wait.
const SERIES_AT_A_TIME: usize = 2048;

/// Where and how often checkpoints are written.
#[derive(Clone, Debug)]
pub struct CheckpointOptions {
    /// Where the models are, too.
    pub store: Store,
    /// The object's path; servers that share a store and take different samples each have their own.
    pub path: String,
    /// How often.
    pub every: Duration,
}

/// What a server had seen.
#[derive(Debug)]
pub struct Checkpoint {
    head: Head,
    series: Vec<KeptSeries>,
    services: Vec<ServiceMemory>,
    decisions: DecisionMemory,
    watched: (WatchMemory, Vec<WatchedService>),
}

/// What the rest is of.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Head {
    /// The last step that was evaluated.
    at: Timestamp,
    step_ms: i64,
    /// Samples from before it were forgotten.
    oldest: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
enum Record {
    Head(Head),
    Series(KeptSeries),
    Service(Box<ServiceMemory>),
    /// Nothing is missing: so many records came before.
    End(u64),
    Decisions(DecisionMemory),
    Watched(WatchMemory),
    WatchedService(Box<WatchedService>),
}

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The store did not answer, or it refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The local file it is made in, or its parts.
    #[error("checkpoint {path} cannot be used")]
    Io {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It does not hang together, or is of another version of the format.
    #[error("checkpoint {path}: wanted {wanted}")]
    Format {
        /// The object.
        path: String,
        /// What it should be.
        wanted: &'static str,
    },
}

impl Checkpoint {
    /// The last step that it knows.
    pub fn at(&self) -> Timestamp {
        self.head.at
    }

    /// Whether its steps are so far apart.
    pub fn is_of(&self, step: Step) -> bool {
        self.head.step_ms == step.millis()
    }

    /// Reads the one at `path`; `None` where there is none.
    pub async fn read(store: &Store, path: &str) -> Result<Option<Self>, CheckpointError> {
        let io = |source| CheckpointError::Io { path: path.to_owned(), source };
        let mut file = tempfile::tempfile().map_err(io)?;
        if !store.get_file(path, MAX_BYTES, &mut file).await? {
            return Ok(None);
        }
        std::io::Seek::rewind(&mut file).map_err(io)?;
        let name = path.to_owned();
        let read = tokio::task::spawn_blocking(move || Self::parse(&name, BufReader::new(file))).await;
        read.map_err(|e| io(std::io::Error::other(e)))?.map(Some)
    }

    /// Reads records until the end, which must be there, and checks the digest over all of them.
    fn parse(path: &str, source: impl Read) -> Result<Self, CheckpointError> {
        let odd = |wanted| CheckpointError::Format { path: path.to_owned(), wanted };
        let mut reader = Records { source, digest: Sha256::new() };
        let mut opening = [0; 10];
        reader.exactly(&mut opening).map_err(|_| odd("a checkpoint"))?;
        if &opening[..8] != MAGIC {
            return Err(odd("a checkpoint"));
        }
        let is_of = |version: u16| opening[8..] == version.to_le_bytes();
        if !is_of(FORMAT_VERSION) && !is_of(FORMAT_WITHOUT_WATCH) {
            return Err(odd("format version 1 or 2"));
        }
        let Ok(Record::Head(head)) = reader.record() else { return Err(odd("a head")) };
        let (mut series, mut services, mut decisions, mut count) =
            (Vec::new(), Vec::new(), DecisionMemory::default(), 1);
        let mut watched = (WatchMemory::default(), Vec::new());
        loop {
            match reader.record().map_err(|_| odd("whole records"))? {
                Record::Series(one) => series.push(one),
                Record::Service(one) => services.push(*one),
                Record::Decisions(all) => decisions = all,
                Record::Watched(all) => watched.0 = all,
                Record::WatchedService(one) => watched.1.push(*one),
                Record::End(wanted) if wanted == count => break,
                Record::End(_) | Record::Head(_) => return Err(odd("as many records as were written")),
            }
            count += 1;
        }
        let Records { mut source, digest } = reader;
        let mut written = [0; 32];
        source.read_exact(&mut written).map_err(|_| odd("a digest"))?;
        if digest.finalize().as_slice() != written {
            return Err(odd("the bytes that were written"));
        }
        Ok(Self { head, series, services, decisions, watched })
    }

    /// Shows all of it to `scorer`, which has seen nothing and has its models.
    pub(crate) fn show(self, scorer: &Scorer) {
        let Self { head, series, services, decisions, watched } = self;
        scorer.recall(head.at, head.oldest, series, services, decisions, watched);
    }
}

/// A checkpoint in a local file, gone with it unless it was put into the store.
pub(crate) struct Made {
    file: tempfile::TempPath,
    bytes: u64,
}

/// Makes one of what `scorer` has seen up to the step `at`. No step may be evaluated meanwhile.
pub(crate) async fn make(
    scorer: std::sync::Arc<Scorer>,
    options: &CheckpointOptions,
    at: Timestamp,
    step: Step,
) -> Result<Made, CheckpointError> {
    let folder = options.store.workspace("serving")?;
    let io = |source| CheckpointError::Io { path: folder.display().to_string(), source };
    let work = {
        let folder = folder.clone();
        move || {
            let mut file = tempfile::Builder::new().prefix(".checkpoint-").tempfile_in(folder)?;
            let bytes = write_all(&scorer, file.as_file_mut(), at, step)?;
            Ok(Made { file: file.into_temp_path(), bytes })
        }
    };
    tokio::task::spawn_blocking(work).await.map_err(|e| io(std::io::Error::other(e)))?.map_err(io)
}

impl Made {
    /// Puts it into the store, whole or not at all; returns how many bytes it has.
    pub(crate) async fn put(self, options: &CheckpointOptions) -> Result<u64, CheckpointError> {
        options.store.put_file(&options.path, &self.file).await?;
        Ok(self.bytes)
    }
}

fn write_all(scorer: &Scorer, file: &mut File, at: Timestamp, step: Step) -> std::io::Result<u64> {
    let mut writer = Written { target: BufWriter::new(file), digest: Sha256::new(), bytes: 0, records: 0 };
    writer.put(MAGIC)?;
    writer.put(&FORMAT_VERSION.to_le_bytes())?;
    let oldest = scorer.live().oldest();
    writer.record(&Record::Head(Head { at, step_ms: step.millis(), oldest }))?;
    let mut place = 0;
    loop {
        let series = scorer.live().kept(place..place + SERIES_AT_A_TIME);
        if series.is_empty() {
            break;
        }
        place += series.len();
        series.into_iter().try_for_each(|one| writer.record(&Record::Series(one)))?;
    }
    scorer.with_memories(|memory| writer.record(&Record::Service(Box::new(memory))))?;
    writer.record(&Record::Decisions(scorer.decisions()))?;
    writer.record(&Record::Watched(scorer.watched().memory()))?;
    scorer.watched().services().try_for_each(|one| writer.record(&Record::WatchedService(Box::new(one))))?;
    writer.record(&Record::End(writer.records))?;
    let digest = writer.digest.clone().finalize();
    writer.put(&digest)?;
    writer.target.flush()?;
    Ok(writer.bytes)
}

struct Written<W> {
    target: W,
    digest: Sha256,
    bytes: u64,
    records: u64,
}

impl<W: Write> Written<W> {
    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
        self.target.write_all(bytes)
    }

    fn record(&mut self, record: &Record) -> std::io::Result<()> {
        let bytes = postcard::to_stdvec(record).map_err(std::io::Error::other)?;
        let length = u32::try_from(bytes.len()).map_err(std::io::Error::other)?;
        self.put(&length.to_le_bytes())?;
        self.records += 1;
        self.put(&bytes)
    }
}

struct Records<R> {
    source: R,
    digest: Sha256,
}

impl<R: Read> Records<R> {
    fn exactly(&mut self, bytes: &mut [u8]) -> std::io::Result<()> {
        self.source.read_exact(bytes)?;
        self.digest.update(&*bytes);
        Ok(())
    }

    fn record(&mut self) -> std::io::Result<Record> {
        let mut length = [0; 4];
        self.exactly(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_RECORD {
            return Err(std::io::Error::other("a record that is too long"));
        }
        // Grown as bytes come: a length that lies takes no memory.
        let mut bytes = Vec::new();
        (&mut self.source).take(length as u64).read_to_end(&mut bytes)?;
        if bytes.len() < length {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.digest.update(&bytes);
        postcard::from_bytes(&bytes).map_err(std::io::Error::other)
    }
}
