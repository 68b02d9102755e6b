#!/usr/bin/env python3
"""What training and a backtest cost, and how that grows with services, history and step.

    scripts/bench-growth.py --forewarn target/debug/forewarn --replicate target/debug/examples/replicate \\
        --blocks FOLDER [--work DIR] [COPIES:STEP:FROM:TO:BACKTEST_FROM:BACKTEST_TO ...]

For each case: COPIES times the services of the blocks in FOLDER (a history of the evaluation data) at this step as a
dataset (datasets/examples/replicate.rs), `forewarn train --until TO` on what lies before, `promote --force`, and a
backtest; times are days such as 2026-01-15, or hours of days: 2026-01-15T06. BACKTEST_FROM may be empty: no backtest. Prints a row of a table
a case: seconds by the clock, processor seconds, and the most memory each command had.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("--forewarn", required=True)
p.add_argument("--replicate", required=True)
p.add_argument("--blocks", required=True)
p.add_argument("--work", help="where datasets are kept and found again (a temporary folder)")
p.add_argument("--every", default="5m", help="between two origins of the backtest")
p.add_argument("cases", nargs="*", default=["1:60s:2026-01-01:2026-01-15:2026-01-15:2026-01-22"])
a = p.parse_args()


def measured(command):
    """Clock and processor seconds, and MiB at most, of a command that must succeed."""
    before = time.monotonic()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen([str(part) for part in command], stdout=out, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        took = time.monotonic() - before
        out.seek(0)
        said = out.read().decode(errors="replace")
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{command}: {said[-2000:]}")
    return took, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, said


def cost(measured):
    took, cpu, memory, _ = measured
    return f"{took:.1f} s, {cpu:.1f} s, {memory:.0f} MiB"


def day(text):
    return f"{text}:00:00Z" if "T" in text else f"{text}T00:00:00Z"


print("| services | step | history | train: clock, processor, memory | backtest | predictions | load |")
print("|---|---|---|---|---|---|---|", flush=True)
for case in a.cases:
    copies, step, first, until, backtest_from, backtest_to = case.split(":")
    folder = pathlib.Path(a.work or tempfile.mkdtemp()).absolute() / case.replace(":", "_")
    store = folder / "store"
    if not (folder / "services").exists():
        shutil.rmtree(store, ignore_errors=True)
        store.mkdir(parents=True)
        last = day(backtest_to or until)
        *_, said = measured([a.replicate, a.blocks, store, copies, step, day(first), last])
        (folder / "services").write_text(said.split()[3])
    config = folder / "forewarn.toml"
    config.write_text(f'[store]\nurl = "file://{store}"\n[dataset]\nstep = "{step}"\n')
    shutil.rmtree(store / "models", ignore_errors=True)
    train = measured([a.forewarn, "train", "--until", day(until), "-c", config])
    backtest, predictions = "", ""
    if backtest_from:
        measured([a.forewarn, "promote", "--force", "-c", config])
        run = ["backtest", "--from", day(backtest_from), "--to", day(backtest_to), "--every", a.every, "--json"]
        done = measured([a.forewarn, *run, "--out", folder / "predictions.jsonl", "-c", config])
        backtest, predictions = cost(done), json.loads(done[3].splitlines()[-1])["predictions"]
        (folder / "predictions.jsonl").unlink()
    services, load = (folder / "services").read_text(), os.getloadavg()[0]
    print(f"| {services} | {step} | {first} to {until} | {cost(train)} | {backtest} | {predictions} | {load:.1f} |", flush=True)
    if not a.work:
        shutil.rmtree(folder)
