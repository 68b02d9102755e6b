#!/usr/bin/env python3
"""How good the scores of `forewarn score` are on public labelled sets, beside simple peers, in one run.

    anomaly-quality.py --forewarn target/debug/forewarn [--nab DIR --nab-score nab_score.py]
                       [--multivariate DIR]... [--univariate DIR]... [--learn-as-it-goes]

--nab: a folder of NAB's files (data/<family>/<file>.csv.gz: timestamp, value, and perhaps label); they are scored into a
temporary folder and judged by --nab-score, a script that takes --data and --scores.
--multivariate: CSVs (.csv.gz) with a time, `part` (train or test), numbers and `label`. forewarn gets --train-rows (not with
--learn-as-it-goes); its peers are fitted on the same rows: scikit-learn's IsolationForest and the squared error of what a
PCA that keeps 90 % of the variance of the standardised columns gives back. Judged on the test rows.
--univariate: CSVs, in folders of any depth, with a time, a value and a label; the peer is the windowed Gaussian of NAB.
Series without an anomaly count how often a week the score reaches the alarm level.

Average precision and VUS-PR (Paparrizos et al., VLDB 2022: buffers of 0 to 100 rows, 250 thresholds), mean over the
files; nothing is point-adjusted.

    pip install numpy pandas scikit-learn
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score

BUFFER, THRESHOLDS = 100, 250


def vus_pr(label, score):
    """The mean over buffers of the area under range-precision and range-recall; equals RangeAUC_volume_opt of `vus` 0.0.6."""
    label, score = np.asarray(label, float), np.asarray(score, float)
    n, positives = len(label), label.sum()
    edges = np.diff(np.r_[0, label, 0])
    ranges = list(zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1))
    order = np.argsort(-score, kind="stable")
    descending = score[order]
    thresholds = descending[np.linspace(0, n - 1, THRESHOLDS).astype(int)]
    predicted = np.searchsorted(-descending, -thresholds, side="right")
    areas = []
    for buffer in range(BUFFER + 1):
        soft, merged = label.copy(), []
        for first, last in ranges:
            after = np.arange(last + 1, min(last + buffer // 2 + 1, n))
            before = np.arange(max(first - buffer // 2, 0), first)
            if buffer:
                soft[after] += np.sqrt(1 - (after - last) / buffer)
                soft[before] += np.sqrt(1 - (first - before) / buffer)
            first, last = max(first - buffer // 2, 0), min(last + buffer // 2, n - 1)
            if merged and first <= merged[-1][1]:
                merged[-1][1] = last
            else:
                merged.append([first, last])
        soft = np.minimum(soft, 1)
        found = np.cumsum(soft[order])[predicted - 1]
        found_in_buffers = np.cumsum((soft - label)[order])[predicted - 1]
        highest = np.array([score[first : last + 1].max() for first, last in merged])
        existence = (highest[None, :] >= thresholds[:, None]).mean(axis=1)
        recall = np.minimum(found / (positives + found_in_buffers / 2), 1) * existence
        areas.append(np.dot(np.diff(np.r_[0, recall]), found / predicted))
    return float(np.mean(areas))


def windowed_gaussian(values, window=6400, step=100):
    """NAB's detector of that name: 1 less the Gaussian tail under the mean and spread of a window that slides by steps."""
    scores, kept, waiting, mean, spread = [], [], [], 0.0, 1.0
    for value in values:
        scores.append(1 - 0.5 * math.erfc(abs(value - mean) / spread / math.sqrt(2)) if kept else 0.0)
        if len(kept) < window:
            kept.append(value)
        else:
            waiting.append(value)
            if len(waiting) < step:
                continue
            kept, waiting = kept[step:] + waiting, []
        mean, spread = np.mean(kept), np.std(kept) or 1e-6
    return np.array(scores)


def forewarn(binary, frame, folder, train_rows=None):
    """Scores of `frame`: a time, then numbers; and what the command said of them."""
    given, out = folder / "in.csv", folder / "out.csv"
    frame.to_csv(given, index=False)
    command = [binary, "score", "--json", "--input", given, "--out", out]
    said = subprocess.run(command + (["--train-rows", str(train_rows)] if train_rows else []), check=True, capture_output=True)
    return pd.read_csv(out)["anomaly_score"].to_numpy(), json.loads(said.stdout)


def nab(arguments, folder):
    data, scores = pathlib.Path(arguments.nab), folder / "nab"
    for path in sorted(data.glob("data/*/*.csv.gz")):
        frame = pd.read_csv(path)[["timestamp", "value"]]
        frame["anomaly_score"] = forewarn(arguments.forewarn, frame, folder)[0]
        target = scores / path.parent.name / path.name.removesuffix(".gz")
        target.parent.mkdir(parents=True, exist_ok=True)
        frame.to_csv(target, index=False)
    command = [sys.executable, arguments.nab_score, "--data", data, "--scores", scores, "--json"]
    print("nab", subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(), flush=True)


def reconstruction_error(train, test):
    mean, spread = train.mean(axis=0), train.std(axis=0)
    spread[spread == 0] = 1
    train, test = (train - mean) / spread, (test - mean) / spread
    pca = PCA(0.9).fit(train)
    return ((test - pca.inverse_transform(pca.transform(test))) ** 2).sum(axis=1)


def multivariate(arguments, data, folder):
    rows = {}
    for path in sorted(pathlib.Path(data).glob("*.csv.gz")):
        frame = pd.read_csv(path)
        train_rows = int((frame["part"] == "train").sum())
        label = frame["label"].fillna(0).to_numpy().astype(int)[train_rows:]
        numbers = frame.drop(columns=["part", "label"])
        train, test = np.split(numbers.iloc[:, 1:].to_numpy(float), [train_rows])
        ours, _ = forewarn(arguments.forewarn, numbers, folder, None if arguments.learn_as_it_goes else train_rows)
        for name, score in {
            "forewarn": ours[train_rows:],
            "isolation forest": -IsolationForest(random_state=0).fit(train).score_samples(test),
            "PCA": reconstruction_error(train, test),
        }.items():
            rows.setdefault(name, []).append((average_precision_score(label, score), vus_pr(label, score)))
    table(pathlib.Path(data).name, rows)


def univariate(arguments, data, folder):
    rows, pooled, labels = {}, {}, []
    for path in sorted(pathlib.Path(data).rglob("*.csv.gz")):
        frame = pd.read_csv(path)
        frame.columns = ["time", "value", "label"]
        label = frame["label"].to_numpy()
        ours, said = forewarn(arguments.forewarn, frame[["time", "value"]], folder)
        values = frame["value"].ffill().fillna(0).to_numpy(float)
        scores = {"forewarn": ours, "windowed Gaussian": windowed_gaussian(values)}
        labels.append(label)
        for name, score in scores.items():
            pooled.setdefault(name, []).append(score)
            if label.any():
                rows.setdefault(name, []).append((average_precision_score(label, score), vus_pr(label, score)))
        if not label.any():
            times = pd.to_datetime(frame["time"], utc=True)
            weeks = (times.iloc[-1] - times.iloc[0]) / pd.Timedelta(weeks=1)
            print(f"{path.stem.removesuffix('.csv')}: healthy, {said['alarms']} alarms in {weeks:.1f} weeks")
    table(pathlib.Path(data).name, rows)
    for name, score in pooled.items():
        together = average_precision_score(np.concatenate(labels), np.concatenate(score))
        print(f"  {name}: average precision {together:.3f} over all rows together")


def table(data, rows):
    print(f"{data}: {len(next(iter(rows.values())))} files, mean average precision and VUS-PR")
    for name, of_files in rows.items():
        precision, volume = np.mean(of_files, axis=0)
        print(f"  {name}: {precision:.3f} {volume:.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forewarn", required=True)
    parser.add_argument("--nab")
    parser.add_argument("--nab-score")
    parser.add_argument("--multivariate", action="append", default=[])
    parser.add_argument("--univariate", action="append", default=[])
    parser.add_argument("--learn-as-it-goes", action="store_true")
    arguments = parser.parse_args()
    if arguments.nab and not arguments.nab_score:
        parser.error("--nab needs --nab-score")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if arguments.nab:
            nab(arguments, folder)
        for data in arguments.univariate:
            univariate(arguments, data, folder)
        for data in arguments.multivariate:
            multivariate(arguments, data, folder)


if __name__ == "__main__":
    main()
