"""A made-up office of three services that work through queues, for understand-a-model and design-a-signal: what a Prometheus would
have scraped of it, as TSDB blocks, and the key of what was done to it. Seeded: the same bytes in every run. No model of a real system."""

import subprocess
from dataclasses import dataclass

import numpy as np
import pandas as pd

START, DAYS, HELD_OUT_DAYS = pd.Timestamp("2026-03-02", tz="UTC"), 28, 14  # from a Monday; the last fortnight is for judging
END = START + pd.Timedelta(days=DAYS)
HELD_OUT = END - pd.Timedelta(days=HELD_OUT_DAYS)
WORKERS, JOB_SECONDS, MOST_WAITING = 8, 0.45, 10_000
MINUTES = DAYS * 1440


@dataclass
class Queue:
    """One service."""

    service: str
    minutes: pd.DataFrame  # a row a minute: arrivals and done (jobs a second), seconds a job takes, jobs that wait
    incidents: pd.DataFrame  # onset: a query begins to get slower; breach: the first minute in which jobs are refused
    campaigns: pd.DataFrame  # start, end: more jobs than can be done at once, done a little later; harmless


def office():
    return [make(service, seed) for seed, service in enumerate(["exports", "invoices", "mail"])]


def make(service, seed):
    """Every third day a query gets slower and slower, until jobs are refused and somebody mends it. On the other days campaigns."""
    dice = np.random.default_rng(seed)
    at = START + pd.to_timedelta(np.arange(MINUTES), unit="min")
    hour, weekday = np.asarray(at.hour + at.minute / 60), np.asarray(at.dayofweek)
    day = np.exp(1.6 * (np.cos((hour - 14) / 24 * 2 * np.pi) - 1)) * np.where(weekday < 5, 1, 0.7)
    arrivals = (2 + 7 * day) * (1 + 0.05 * noise(dice, 20) + 0.03 * noise(dice, 3))
    seconds = JOB_SECONDS * (1 + 0.04 * noise(dice, 30)) + 0.03 * day
    onsets, campaigns = {}, []
    for midnight in range(1440, MINUTES, 1440):
        if midnight // 1440 % 3 == (1 + seed) % 3:
            onsets[midnight + int(dice.integers(7 * 60, 10 * 60))] = int(dice.integers(150, 300))
            continue
        for earliest in ([8 * 60, 14 * 60] if dice.random() < 0.5 else [11 * 60]):
            first, length = midnight + earliest + int(dice.integers(0, 3 * 60)), int(dice.integers(25, 45))
            while_it_lasts = slice(first, first + length)
            # What the workers have to spare, and a third to four fifths of what may wait.
            spare = np.maximum(WORKERS / seconds[while_it_lasts] - arrivals[while_it_lasts], 0)
            arrivals[while_it_lasts] += spare + dice.uniform(0.35, 0.8) * MOST_WAITING / (60 * length)
            campaigns.append((at[first], at[first + length]))
    waiting, done, incidents = np.zeros(MINUTES), np.zeros(MINUTES), []
    wait, onset, breach, helped_until = 0.0, None, None, 0
    for minute in range(MINUTES):
        if minute in onsets:
            onset, breach = minute, None
        if onset is not None:
            seconds[minute] += 1.6 * JOB_SECONDS * (minute - onset) / onsets[onset]
        can_do = 60 * WORKERS / seconds[minute] * (1.6 if minute < helped_until else 1)
        came = 60 * arrivals[minute]
        done[minute] = min(can_do, wait + came) / 60
        wait = min(max(wait + came - 60 * done[minute], 0), MOST_WAITING)
        waiting[minute] = np.floor(wait)
        if onset is not None and breach is None and wait >= MOST_WAITING:
            breach = minute
            incidents.append((at[onset], at[breach]))
        if breach is not None and minute == breach + 25:
            onset, breach, helped_until = None, None, minute + 180  # mended, and colleagues help for three hours
    return Queue(
        service,
        pd.DataFrame({"at": at, "arrivals": arrivals, "seconds": seconds, "waiting": waiting, "done": done}),
        pd.DataFrame(incidents, columns=["onset", "breach"]),
        pd.DataFrame(campaigns, columns=["start", "end"]),
    )


def held_out(office, what):
    """Incidents or campaigns of all services in the fortnight held out, a row each, by time."""
    all_of = pd.concat(getattr(queue, what).assign(service=queue.service) for queue in office)
    start, end = all_of.columns[:2]
    return all_of[all_of[end] > HELD_OUT].sort_values(start, ignore_index=True)


def judged(requests, incidents, in_time=pd.Timedelta("15min")):
    """Both with what became of them by the key. A request `was` in time (between onset and breach, and at least so long before that), late
    (less, or while jobs were refused, which lasts half an hour), or a false alarm. An incident has its `lead` in minutes, NaN where
    no request went out before its breach."""
    was = []
    for request in requests.itertuples():
        own = incidents[incidents["service"] == request.service]
        own = own[own["onset"].le(request.at) & (request.at <= own["breach"] + pd.Timedelta("30min"))]
        was.append("false alarm" if own.empty else "in time" if request.at <= own["breach"].iloc[0] - in_time else "late")
    lead = []
    for incident in incidents.itertuples():
        at = requests.loc[requests["service"] == incident.service, "at"]
        lead.append((incident.breach - at[at.between(incident.onset, incident.breach)].min()) / pd.Timedelta("1min"))
    return requests.assign(was=was), incidents.assign(lead=lead)


def noise(dice, minutes):
    """Of unit size; forgets itself in so many minutes."""
    keep, out = np.exp(-1 / minutes), dice.standard_normal(MINUTES)
    out[1:] *= np.sqrt(1 - keep**2)
    for i in range(1, MINUTES):
        out[i] += keep * out[i - 1]
    return out


METRICS = {
    "jobs_waiting": lambda q: q["waiting"],
    "jobs_waiting_max": lambda q: 0 * q["waiting"] + MOST_WAITING,
    "jobs_received_total": lambda q: (60 * q["arrivals"]).cumsum().round(),
    "job_duration_seconds_sum": lambda q: (60 * q["done"] * q["seconds"]).cumsum().round(2),
    "job_duration_seconds_count": lambda q: (60 * q["done"]).cumsum().round(),
}


def blocks(queues, folder):
    """Writes what was scraped, once a minute, as the blocks of a Prometheus; needs promtool."""
    folder.mkdir(parents=True)
    text = folder.with_suffix(".openmetrics")
    with text.open("w") as out:
        for metric, of in METRICS.items():
            for queue in queues:
                unix = queue.minutes["at"].map(pd.Timestamp.timestamp).astype(int)
                out.writelines(f'{metric}{{service="{queue.service}"}} {value:.12g} {at}\n' for at, value in zip(unix, of(queue.minutes)))
        out.write("# EOF\n")
    # Blocks of two hours, the default, take a minute to make.
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", "--max-block-duration=168h", text, folder]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    text.unlink()
