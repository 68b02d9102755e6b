//! A replay in parts: each part's lines in the store, and one file made of all of them, byte for byte what one replay writes.
//! Nothing but the store is shared; a part that comes twice writes the same again.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Lines, Write};
use std::path::Path;

use anyhow::{Context as _, bail};
use forewarn_models::runs;
use forewarn_schema::Timestamp;
use forewarn_storage::Store;
use serde::Deserialize;
use serde_json::json;

use crate::cli::Shard;
use crate::config::Config;
use crate::outcome::Outcome;

/// The lines of a part of a large fleet over weeks.
const MAX_PART_BYTES: u64 = 1 << 40;
const MOST_PARTS: usize = 10_000;

/// Replays into a file of its own and puts that into the store whole.
pub(super) async fn store(
    config: &Config,
    run: &str,
    shard: Shard,
    replay: impl AsyncFnOnce(&Path) -> anyhow::Result<Outcome>,
) -> anyhow::Result<Outcome> {
    let store = Store::open(&config.store_url)?;
    let folder = folder(run)?;
    let workspace = store.workspace(&folder)?;
    let file = tempfile::Builder::new().prefix(".part-").tempfile_in(&workspace);
    let file = file.with_context(|| format!("cannot write in {}", workspace.display()))?.into_temp_path();
    let said = replay(&file).await?;
    let path = format!("{folder}/{}", name(shard));
    store.put_file(&path, &file).await?;
    let mut json = said.json().clone();
    json["out"] = json!(path);
    Ok(Outcome::new(format!("part {} of {} of {run} is in the store\n", shard.index, shard.count), json))
}

/// Makes one file of all parts; says which are missing.
pub(super) async fn merge(config: &Config, run: &str, out: &Path) -> anyhow::Result<Outcome> {
    let store = Store::open(&config.store_url)?;
    let folder = folder(run)?;
    let mut shards: Vec<Shard> = store.files(&folder).await?.iter().filter_map(|file| shard_of(file)).collect();
    let Some(count) = shards.iter().map(|shard| shard.count).max() else {
        bail!("{}/{folder} holds no part of a replay", config.store_url)
    };
    shards.retain(|shard| shard.count == count);
    let missing: Vec<String> =
        (1..=count).filter(|i| !shards.iter().any(|s| s.index == *i)).map(|i| i.to_string()).collect();
    if !missing.is_empty() {
        bail!("{run} has {count} parts, not there yet: {}", missing.join(", "));
    }
    let mut parts = Vec::with_capacity(count);
    for shard in shards {
        let path = format!("{folder}/{}", name(shard));
        let mut file = tempfile::tempfile().context("cannot make a temporary file")?;
        if !store.get_file(&path, MAX_PART_BYTES, &mut file).await? {
            bail!("{path} is gone");
        }
        parts.push(file);
    }
    let path = out.to_owned();
    let lines = tokio::task::spawn_blocking(move || interleave(parts, &path)).await??;
    let shown = out.display().to_string();
    let text = format!("{lines} predictions of {count} parts into {shown}\n");
    Ok(Outcome::new(text, json!({"predictions": lines, "parts": count, "out": shown})))
}

fn folder(run: &str) -> anyhow::Result<String> {
    // An id of a run is a plain name here, too.
    runs::folder_of(run)?;
    Ok(format!("backtests/{run}"))
}

fn name(shard: Shard) -> String {
    format!("{}-of-{}.jsonl", shard.index, shard.count)
}

fn shard_of(file: &str) -> Option<Shard> {
    let (index, count) = file.strip_suffix(".jsonl")?.split_once("-of-")?;
    let shard = Shard { index: index.parse().ok()?, count: count.parse().ok()? };
    (1..=shard.count.min(MOST_PARTS)).contains(&shard.index).then_some(shard)
}

/// By what lines are sorted: a service is in one part, where its lines of a time are in their order.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    at: Timestamp,
    service: String,
}

struct Part {
    lines: Lines<BufReader<File>>,
    next: Option<(Place, String)>,
}

impl Part {
    fn open(mut file: File) -> anyhow::Result<Self> {
        std::io::Seek::rewind(&mut file)?;
        let mut part = Self { lines: BufReader::new(file).lines(), next: None };
        part.advance()?;
        Ok(part)
    }

    fn advance(&mut self) -> anyhow::Result<()> {
        self.next = match self.lines.next().transpose()? {
            None => None,
            Some(line) => Some((serde_json::from_str(&line).context("a line is no prediction")?, line)),
        };
        Ok(())
    }
}

/// Writes the lines of all parts in the order of one replay, and counts them.
fn interleave(files: Vec<File>, out: &Path) -> anyhow::Result<u64> {
    let mut parts = files.into_iter().map(Part::open).collect::<anyhow::Result<Vec<Part>>>()?;
    let file = File::create(out).with_context(|| format!("cannot write {}", out.display()))?;
    let mut out = BufWriter::new(file);
    let mut lines = 0;
    loop {
        let first = parts.iter_mut().filter(|part| part.next.is_some());
        let first = first.min_by(|a, b| a.next.as_ref().map(|n| &n.0).cmp(&b.next.as_ref().map(|n| &n.0)));
        let Some(part) = first else { break };
        if let Some((_, line)) = part.next.take() {
            out.write_all(line.as_bytes())?;
            out.write_all(b"\n")?;
            lines += 1;
        }
        part.advance()?;
    }
    out.flush()?;
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(lines: &[&str]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        lines.iter().for_each(|line| writeln!(file, "{line}").unwrap());
        file
    }

    #[test]
    fn lines_are_ordered_by_time_and_service_and_those_of_a_service_stay_as_they_are() {
        let line = |at: u32, service: &str, n: u32| {
            format!("{{\"at\":\"2026-01-05T00:0{at}:00Z\",\"service\":\"{service}\",\"n\":{n}}}")
        };
        let (a, b) = ([line(0, "a", 2), line(0, "a", 1), line(1, "a", 3)], [line(0, "b", 0), line(1, "b", 0)]);
        let of = |lines: &[String]| file(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        assert_eq!(interleave(vec![of(&b), of(&a), file(&[])], &out).unwrap(), 5);
        let merged = std::fs::read_to_string(&out).unwrap();
        let wanted = [&a[0], &a[1], &b[0], &a[2], &b[1]].map(|line| format!("{line}\n")).concat();
        assert_eq!(merged, wanted);
    }

    #[test]
    fn the_name_of_a_part_reads_back() {
        assert_eq!(shard_of(&name(Shard { index: 2, count: 4 })), Some(Shard { index: 2, count: 4 }));
        for other in ["0-of-4.jsonl", "5-of-4.jsonl", "1-of-4.json", ".part-x", "1-of-99999999999999999999.jsonl"] {
            assert_eq!(shard_of(other), None, "{other}");
        }
    }
}
