#!/usr/bin/env python3
"""Is our isolation forest as good as scikit-learn's? Both with equal settings on labelled series, over several seeds.

    pip install scikit-learn pandas
    cargo build --release -p forewarn-models --example forest_scores
    forest-beside-sklearn.py --program target/release/examples/forest_scores FILE.csv.gz [FILE.csv.gz ...]

A file has a column `label` or `Label` (1 = anomaly). With a column `part`, the forests are fitted on its `train` rows and
judged on its `test` rows; without, they are fitted and judged on all. One column of values becomes nine: the value, and
the change to it from 1 to 8 rows before. Prints a Markdown table: ROC AUC, mean and standard deviation over the seeds, and
by how much the means differ beside the standard error of that difference. Exits with 1 if two means differ by more than
--tolerance.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import pandas as pd
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

LAGS = 8
NOT_FEATURES = {"timestamp", "part", "label"}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("files", nargs="+", type=pathlib.Path)
parser.add_argument("--program", required=True, help="the example forest_scores, built")
parser.add_argument("--trees", type=int, default=100)
parser.add_argument("--sample", type=int, default=256)
parser.add_argument("--seeds", type=int, default=20)
parser.add_argument("--tolerance", type=float, default=0.01)
arguments = parser.parse_args()


def lagged(values):
    """The value, and the change from each of the rows before; before the first row it was as in the first."""
    before = np.concatenate([np.repeat(values[:1], LAGS), values])
    changes = [values - before[LAGS - lag : len(before) - lag] for lag in range(1, LAGS + 1)]
    return np.stack([values, *changes], axis=1)


def load(file):
    """Rows to fit, rows to judge, and the latter's labels."""
    table = pd.read_csv(file).rename(columns=str.lower)
    columns = [name for name in table.columns if name not in NOT_FEATURES]
    rows = table[columns].to_numpy("float64")
    if len(columns) == 1:
        rows = lagged(rows[:, 0])
    rows, labels = rows.astype("float32"), table["label"].fillna(0).to_numpy() > 0
    if "part" not in table:
        return rows, rows, labels
    train, test = (table["part"] == part for part in ("train", "test"))
    return rows[train], rows[test], labels[test]


def ours(train, test):
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(pathlib.Path(folder) / name) for name in ("train", "test")]
        for rows, path in zip((train, test), paths):
            rows.astype("<f4").tofile(path)
        settings = [train.shape[1], arguments.trees, arguments.sample, arguments.seeds]
        command = [arguments.program, *paths, *map(str, settings)]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return np.frombuffer(out, "<f8").reshape(arguments.seeds, len(test))


def sklearns(train, test):
    for seed in range(arguments.seeds):
        sample = min(arguments.sample, len(train))
        forest = IsolationForest(n_estimators=arguments.trees, max_samples=sample, random_state=seed)
        yield -forest.fit(train).score_samples(test)


print("| file | rows, anomalous | features | ours | scikit-learn | difference |")
print("|---|---|---|---|---|---|")
furthest = 0.0
for file in arguments.files:
    train, test, labels = load(file)
    aucs = [np.array([roc_auc_score(labels, s) for s in scores(train, test)]) for scores in (ours, sklearns)]
    mean, deviation = [auc.mean() for auc in aucs], [auc.std(ddof=1) for auc in aucs]
    difference = mean[0] - mean[1]
    error = np.hypot(*deviation) / np.sqrt(arguments.seeds)
    furthest = max(furthest, abs(difference))
    cells = [
        file.name.removesuffix(".gz").removesuffix(".csv"),
        f"{len(test):,}, {labels.mean():.1%}",
        test.shape[1],
        *(f"{m:.4f} ± {d:.4f}" for m, d in zip(mean, deviation)),
        f"{difference:+.4f} ± {error:.4f}",
    ]
    print("|", " | ".join(map(str, cells)), "|", flush=True)
if furthest > arguments.tolerance:
    sys.exit(f"the means differ by up to {furthest:.4f}, wanted at most {arguments.tolerance}")
