#!/usr/bin/env python3
"""How fast is our LSTM beside PyTorch's? Both train and forecast the same shapes, one after the other, several times.

    pip install torch
    cargo build --release -p forewarn-models --example bench_models      # or the whole binary: it takes the same flags
    bench-lstm.py --program target/release/examples/bench_models --peer lstm_torch.py [--rounds 7]

The peer prints `train_step_ms` and `forward_ms` for the same flags. One thread each. Prints one JSON object a shape:
milliseconds (least and median over the rounds) and ours as a share of the peer's (least, median and most over the
rounds, each within its round; and least by least). With --services also how training many services gains by a second
thread, by the clock.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--program", required=True)
parser.add_argument("--peer", help="the program to stand beside; without it only ours is measured")
parser.add_argument("--rounds", type=int, default=7)
parser.add_argument("--services", type=int, default=0)
parser.add_argument("--steps", type=int, default=150)
arguments = parser.parse_args()
SHAPES = [(64, 60, 8, 32, 12), (128, 120, 8, 64, 12)]


def run(command):
    return json.loads(subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE).stdout)


def least_and_median(values):
    return [round(value, 3) for value in (min(values), statistics.median(values))]


def spread(values):
    return [round(value, 2) for value in (min(values), statistics.median(values), max(values))]


for shape in SHAPES:
    flags = [text for pair in zip(("--batch", "--lookback", "--features", "--hidden", "--outputs"), shape) for text in pair]
    flags += ["--threads", 1]
    ours, peers = [], []
    for _ in range(arguments.rounds):
        ours.append(run([arguments.program, "bench", "lstm", *flags]))
        if arguments.peer:
            peers.append(run([sys.executable, arguments.peer, *flags]))
    result = {"shape": shape, "rounds": arguments.rounds, "load": round(os.getloadavg()[0], 1)}
    for what in ("train_step_ms", "forward_ms"):
        mine, theirs = ([side[what] for side in sides] for sides in (ours, peers))
        result[what] = {"ours": least_and_median(mine)}
        if theirs:
            result[what] |= {
                "peer": least_and_median(theirs),
                "share": spread([a / b for a, b in zip(mine, theirs)]),
                "share_least_by_least": round(min(mine) / min(theirs), 2),
            }
    print(json.dumps(result), flush=True)

if arguments.services:
    flags = ["--services", arguments.services, "--steps", arguments.steps, "--threads"]
    pairs = [[run([arguments.program, "bench", "services", *flags, n])["train_s"] for n in (1, 2)] for _ in range(arguments.rounds)]
    one, two = zip(*pairs)
    print(json.dumps({
        "services": arguments.services,
        "one_thread_s": least_and_median(one),
        "two_threads_s": least_and_median(two),
        "times": spread([a / b for a, b in pairs]),
        "times_least_by_least": round(min(one) / min(two), 2),
        "load": round(os.getloadavg()[0], 1),
    }))
