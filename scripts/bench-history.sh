#!/bin/sh
# How fast history comes out, measured side by side: our blocks to Parquet, `promtool tsdb dump` to a file, and a
# query_range pull from a Prometheus over the same blocks, each in turn, ROUNDS times (3).
#
#   scripts/bench-history.sh FOLDER [ROUNDS]    the folder with the blocks; nothing is written to it
#
# Needs promtool, prometheus and python3. Everything runs on two cores. Prints one JSON object: medians of samples a second by
# the clock, processor time, which does not mind what else runs (a server's is its own, without the client that asks), and
# how many times each of the others we are, as minimum, median and maximum over the rounds.
set -eu
[ $# -ge 1 ] || { echo "usage: $0 FOLDER [ROUNDS]" >&2; exit 2; }
folder=$(cd "$1" && pwd)
rounds=${2:-3}
cd "$(dirname "$0")/.."

# Built as it is shipped.
cargo build --release --quiet -p forewarn-datasets --example blocks_to_parquet
program=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/release/examples/blocks_to_parquet

exec python3 - "$program" "$folder" "$rounds" <<'PYTHON'
import json, os, pathlib, resource, shutil, signal, socket, statistics, subprocess, sys, tempfile, time
import urllib.error, urllib.parse, urllib.request

program, folder, rounds = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
# All that is started inherits both.
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
os.environ["GOMAXPROCS"] = "2"
work = pathlib.Path(tempfile.mkdtemp())
server = None
signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # so that what is below cleans up


def children_cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cpu_of(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ours():
    return json.loads(subprocess.run([program, str(folder)], check=True, capture_output=True).stdout)


def dump():
    before, cpu = time.monotonic(), children_cpu()
    with open(work / "dump", "wb") as out:
        subprocess.run(["promtool", "tsdb", "dump", str(work / "tsdb")], check=True, stdout=out)
    took, cpu = time.monotonic() - before, children_cpu() - cpu
    with open(work / "dump", "rb") as lines:
        samples = sum(chunk.count(b"\n") for chunk in iter(lambda: lines.read(1 << 20), b""))
    (work / "dump").unlink()
    return samples, took, cpu


def get(path):
    with urllib.request.urlopen(base + path) as answer:
        return answer.read()


# A day at a time, at a step of a minute: what a pull by query_range asks. Once parsed into numbers, as a pull must, and once
# not even parsed, so that the figure is the server's alone.
def parsed(body):
    series = json.loads(body)["data"]["result"]
    return sum(len([(at, float(value)) for at, value in one["values"]]) for one in series)


def counted(body):
    return body.count(b'"],[') + body.count(b'"]]')


def query_range(count):
    samples, before, cpu = 0, time.monotonic(), cpu_of(server.pid)
    for name in names:
        for at in range(start - start % 60, end + 1, 86400):
            ask = {"query": name, "start": at, "end": min(at + 86400 - 60, end), "step": 60}
            samples += count(get("/api/v1/query_range?" + urllib.parse.urlencode(ask)))
    return samples, time.monotonic() - before, cpu_of(server.pid) - cpu


try:
    shutil.copytree(folder, work / "tsdb")
    subprocess.run(["chmod", "-R", "u+w", str(work / "tsdb")], check=True)
    (work / "tsdb" / "wal").mkdir(exist_ok=True)  # promtool asks for one
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    (work / "prometheus.yml").write_text("global: {scrape_interval: 1h}\n")
    (work / "data").mkdir()
    shutil.copytree(work / "tsdb", work / "data", dirs_exist_ok=True)
    flags = [f"--config.file={work}/prometheus.yml", f"--storage.tsdb.path={work}/data", "--storage.tsdb.retention.time=100y"]
    log = open(work / "log", "wb")
    server = subprocess.Popen(["prometheus", *flags, f"--web.listen-address=127.0.0.1:{port}"], stderr=log)
    for _ in range(600):
        try:
            get("/-/ready")
            break
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    names = json.loads(get("/api/v1/label/__name__/values?start=0&end=4102444800"))["data"]
    blocks = [json.loads(p.read_text()) for p in folder.glob("*/meta.json")]
    start, end = min(b["minTime"] for b in blocks) // 1000, max(b["maxTime"] for b in blocks) // 1000

    others = {"promtool_dump": dump, "query_range": lambda: query_range(parsed), "query_range_unparsed": lambda: query_range(counted)}
    rates = {"ours": []} | {name: [] for name in others}
    costs = {name: [] for name in rates}  # microseconds of processor time a sample
    times = {name: [] for name in others}
    saved = {name: [] for name in others}
    last = None
    for _ in range(rounds):
        for name, measure in others.items():
            # Ours just before and just after, so that all see the same machine.
            before = ours()
            samples, took, cpu = measure()
            last = ours()
            rate = last["samples"] * 2 / (before["pull_s"] + last["pull_s"])
            cost = (before["pull_cpu_s"] + last["pull_cpu_s"]) / 2 / last["samples"] * 1e6
            rates["ours"].append(rate)
            costs["ours"].append(cost)
            rates[name].append(samples / took)
            costs[name].append(cpu / samples * 1e6)
            times[name].append(rate / (samples / took))
            saved[name].append(cpu / samples * 1e6 / cost)
finally:
    if server:
        server.terminate()
        server.wait()
    shutil.rmtree(work)

spread = lambda of: [round(x, 2) for x in (min(of), statistics.median(of), max(of))]
print(json.dumps({
    "million_samples_per_second": {name: spread([r / 1e6 for r in of]) for name, of in rates.items()},
    "cpu_microseconds_per_sample": {name: spread(of) for name, of in costs.items()},
    "ours_is_so_many_times": {name: spread(of) for name, of in times.items()},
    "and_so_many_times_less_cpu": {name: spread(of) for name, of in saved.items()},
    "last": last,
}, indent=2))
PYTHON
