"""What the notebooks share: running the binary, opening what it leaves in a store, and how pictures look.

FOREWARN_BIN is the binary (without: `forewarn` on the PATH), FOREWARN_STORE a store to explore, FOREWARN_SCRATCH a folder to
work in (without: a temporary one)."""

import json
import os
import pathlib
import subprocess
import tempfile

import matplotlib.dates
import matplotlib.pyplot as plt
import pandas as pd

BLUE, ORANGE, RED, GREEN, GREY = "#2b6cb0", "#dd6b20", "#c53030", "#2f855a", "#a0aec0"

plt.rcParams.update(
    {
        "figure.figsize": (11, 3.4),
        "figure.constrained_layout.use": True,
        "figure.dpi": 90,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.prop_cycle": plt.cycler(color=[BLUE, ORANGE, GREEN, RED, GREY]),
        "grid.color": "#e2e8f0",
        "legend.frameon": False,
        "font.size": 10,
    }
)
pd.options.display.max_colwidth = None


def scratch(name):
    """A fresh folder of that name to work in."""
    root = os.environ.get("FOREWARN_SCRATCH") or tempfile.mkdtemp(prefix="forewarn-notebook-")
    folder = pathlib.Path(root).absolute() / name
    folder.mkdir(parents=True)
    return folder


def forewarn(config, *arguments, quiet=False):
    """Runs the binary with that configuration, shows what it says (not what it logs), and gives it back. An error ends the cell."""
    command = [os.environ.get("FOREWARN_BIN", "forewarn"), *map(str, arguments), "--config", str(config)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FOREWARN_")}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    if ran.returncode != 0:
        raise RuntimeError(f"forewarn {' '.join(command[1:])}: exit code {ran.returncode}\n{ran.stderr}")
    if not quiet:
        print(ran.stdout.rstrip())
    return ran.stdout


def manifest(store):
    """Of the dataset: which files it has, and what was asked for them."""
    found = json.loads((store / "dataset" / "manifest.json").read_text())
    assert found["format_version"] == 2, "the notebooks read datasets of format 2"
    return found


def dataset(store):
    """All of it: a row for each service, signal, role (value or limit), target (its labels) and step."""
    files = [store / "dataset" / day["path"] for days in manifest(store)["files"].values() for day in days.values()]
    rows = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    for column in ["service", "signal", "role", "labels"]:
        rows[column] = rows[column].astype(str)
    return rows.assign(at=pd.to_datetime(rows["at"], utc=True))


def report(store):
    """The newest evaluation report; weeks looked back at lie beside them."""
    folders = [folder for folder in (store / "reports").iterdir() if not folder.name.endswith("-week")]
    folder = max(folder for folder in folders if (folder / "report.json").exists())
    found = json.loads((folder / "report.json").read_text())
    assert found["format_version"] == 2, "the notebooks read reports of format 2"
    return found


def predictions(path):
    """What a backtest wrote: a row a prediction; p10, p50 and p90 in hours from then, NaN while no breach is in sight."""
    said = pd.DataFrame(json.loads(line) for line in pathlib.Path(path).open())
    ways = pd.json_normalize(said.pop("time_to_breach_seconds").map(lambda way: way or {})).reindex(columns=["p10", "p50", "p90"])
    said = said.join(ways.astype(float) / 3600)
    return said.assign(at=pd.to_datetime(said["at"], utc=True), because=said["explanation"].str["summary"])


def within(rows, spans):
    """Whether each row (service, at) lies in one of the spans (service, and its first two columns: from and to)."""
    inside = pd.Series(False, index=rows.index)
    start, end = spans.columns[:2]
    for span in spans.to_dict("records"):
        inside |= (rows["service"] == span["service"]) & rows["at"].between(span[start], span[end])
    return inside


def time_left(rows, breaches):
    """Hours from each row (service, at) to the next breach (service, breach) of its service; NaN where none comes."""
    left = pd.Series(float("nan"), index=rows.index)
    for breach in breaches.sort_values("breach", ascending=False).itertuples():
        ahead = (rows["service"] == breach.service) & (rows["at"] < breach.breach)
        left[ahead] = (breach.breach - rows.loc[ahead, "at"]) / pd.Timedelta("1h")
    return left


def by_day(axis):
    """Time along the bottom of a picture, in the shortest form that is clear."""
    locator = matplotlib.dates.AutoDateLocator()
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(matplotlib.dates.ConciseDateFormatter(locator))
    axis.set_xlabel("UTC")


def shade(axis, spans, colour, label):
    """Spans of time (their first two columns: from and to) behind a picture; one entry in the legend for all of them."""
    for number, span in enumerate(spans.itertuples(index=False)):
        axis.axvspan(span[0], span[1], color=colour, alpha=0.25, linewidth=0, label=label if number == 0 else None)
