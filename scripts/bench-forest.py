#!/usr/bin/env python3
"""How fast is our isolation forest beside scikit-learn's? Both on the same rows, one after the other, several times.

    pip install scikit-learn pandas
    cargo build --release
    bench-forest.py --program target/release/forewarn [--input x.csv]

The CSV has a header and numbers only; without one, 100,000 rows of 8 normally distributed values are made, every 200th four
times as far out. In every round each side fits and scores on one thread, and ours on two as well, a median of five each.
Prints one JSON object: seconds (least and median over the rounds), and how many times faster ours is (least, median and most
over the rounds, each within its round; and least by least). A busy machine troubles short runs more than long ones, so there
the last is nearest to the truth.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import numpy as np
import pandas as pd
import sklearn
from sklearn.ensemble import IsolationForest

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--program", required=True, help="forewarn, built")
parser.add_argument("--input", type=pathlib.Path)
parser.add_argument("--trees", type=int, default=100)
parser.add_argument("--sample", type=int, default=256)
parser.add_argument("--rounds", type=int, default=7)
arguments = parser.parse_args()


def ours(file, threads):
    settings = ["--trees", arguments.trees, "--sample", arguments.sample, "--threads", threads]
    command = [arguments.program, "bench", "isolation-forest", "--input", file, *settings]
    out = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE).stdout
    measured = json.loads(out)
    return measured["fit_s"], measured["score_s"]


def sklearns(rows):
    fits, scores = [], []
    for _ in range(5):
        begin = time.perf_counter()
        settings = {"n_estimators": arguments.trees, "max_samples": arguments.sample, "random_state": 1, "n_jobs": 1}
        forest = IsolationForest(**settings).fit(rows)
        fitted = time.perf_counter()
        forest.score_samples(rows)
        fits.append(fitted - begin)
        scores.append(time.perf_counter() - fitted)
    return statistics.median(fits), statistics.median(scores)


def least_and_median(values):
    return [round(value, 5) for value in (min(values), statistics.median(values))]


def spread(values):
    return [round(value, 2) for value in (min(values), statistics.median(values), max(values))]


with tempfile.TemporaryDirectory() as folder:
    file = arguments.input
    if file is None:
        file = pathlib.Path(folder) / "x.csv"
        made = np.random.default_rng(1).normal(size=(100_000, 8)).astype("float32")
        made[::200] *= 4
        pd.DataFrame(made, columns=[f"f{i}" for i in range(8)]).to_csv(file, index=False)
    rows = pd.read_csv(file).to_numpy("float32")
    rounds = [(ours(file, 1), ours(file, 2), sklearns(rows)) for _ in range(arguments.rounds)]

result = {"rows": len(rows), "columns": rows.shape[1], "rounds": len(rounds), "sklearn": sklearn.__version__}
for step, name in enumerate(("fit", "score")):
    one, two, peer = ([side[step] for side in sides] for sides in zip(*rounds))
    result[name] = {
        "ours_s": least_and_median(one),
        "ours_two_threads_s": least_and_median(two),
        "sklearn_s": least_and_median(peer),
        "times_sklearn": spread([theirs / mine for theirs, mine in zip(peer, one)]),
        "times_sklearn_least_by_least": round(min(peer) / min(one), 2),
        "times_one_thread": spread([mine / both for mine, both in zip(one, two)]),
        "times_one_thread_least_by_least": round(min(one) / min(two), 2),
    }
print(json.dumps(result))
