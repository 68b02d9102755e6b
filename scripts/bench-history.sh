#!/bin/sh
# How fast history comes out, measured side by side: our blocks to Parquet, `promtool tsdb dump` to a file, and a
# query_range pull from a Prometheus over the same blocks. Run it on a quiet machine.
#
#   scripts/bench-history.sh FOLDER    the folder with the blocks; nothing is written to it
#
# Needs promtool, prometheus, curl and python3. Everything runs on two cores. Prints one JSON object.
set -eu
[ $# -eq 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
folder=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."

# Built as it is shipped.
cargo build --release --quiet -p forewarn-datasets --example blocks_to_parquet
program=${CARGO_TARGET_DIR:-target}/release/examples/blocks_to_parquet

work=$(mktemp -d)
server=
trap 'if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; fi; rm -rf "$work"' EXIT
two() { if command -v taskset >/dev/null; then taskset -c 0,1 "$@"; else "$@"; fi; }

two "$program" "$folder" > "$work/ours.json"

cp -r "$folder" "$work/tsdb"
chmod -R u+w "$work/tsdb"
mkdir -p "$work/tsdb/wal" # promtool asks for one
started=$(date +%s.%N)
GOMAXPROCS=2 promtool tsdb dump "$work/tsdb" > "$work/dump"
ended=$(date +%s.%N)
lines=$(wc -l < "$work/dump")
rm "$work/dump"

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf 'global: {scrape_interval: 1h}\n' > "$work/prometheus.yml"
GOMAXPROCS=2 prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/tsdb" \
    --storage.tsdb.retention.time=100y --web.listen-address="127.0.0.1:$port" 2> "$work/log" &
server=$!
python3 - "$port" "$work/ours.json" "$lines" "$started" "$ended" <<'PYTHON'
import json, pathlib, sys, time, urllib.error, urllib.parse, urllib.request

port, ours, lines, started, ended = sys.argv[1:]
base = f"http://127.0.0.1:{port}"


def get(path):
    with urllib.request.urlopen(base + path) as answer:
        return answer.read()


for _ in range(600):
    try:
        get("/-/ready")
        break
    except (urllib.error.URLError, ConnectionError):
        time.sleep(0.1)

# Every metric, a day at a time, at a step of a minute: what a pull by query_range asks. Once parsed into numbers, as a pull
# must, and once not even parsed, so that the figure is the server's alone.
names = json.loads(get("/api/v1/label/__name__/values?start=0&end=4102444800"))["data"]
blocks = [json.loads(p.read_text()) for p in pathlib.Path(ours).parent.glob("tsdb/*/meta.json")]
start, end = min(b["minTime"] for b in blocks) // 1000, max(b["maxTime"] for b in blocks) // 1000
day = 86400


def parsed(body):
    series = json.loads(body)["data"]["result"]
    return sum(len([(at, float(value)) for at, value in one["values"]]) for one in series)


def counted(body):
    return body.count(b'"],[') + body.count(b'"]]')


def rate(count):
    samples, before = 0, time.monotonic()
    for name in names:
        for at in range(start - start % 60, end + 1, day):
            ask = {"query": name, "start": at, "end": min(at + day - 60, end), "step": 60}
            samples += count(get("/api/v1/query_range?" + urllib.parse.urlencode(ask)))
    return samples / (time.monotonic() - before)


by_query, answers = rate(parsed), rate(counted)

result = json.loads(pathlib.Path(ours).read_text())
dump = int(lines) / (float(ended) - float(started))
result["promtool_dump_samples_per_second"] = dump
result["query_range_samples_per_second"] = by_query
result["query_range_unparsed_samples_per_second"] = answers
result["times_promtool_dump"] = result["samples_per_second"] / dump
result["times_query_range"] = result["samples_per_second"] / by_query
result["times_query_range_unparsed"] = result["samples_per_second"] / answers
print(json.dumps({k: round(v, 3) for k, v in result.items()}, indent=2))
PYTHON
