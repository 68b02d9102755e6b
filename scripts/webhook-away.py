#!/usr/bin/env python3
"""What becomes of requests while their webhook is away: a real `forewarn serve`, by the real clock.

    scripts/webhook-away.py --forewarn target/debug/forewarn [--minutes 10] [--folder DIR]

Pools leak, one begins forty seconds after the other; nothing listens where the webhook should be. Half of the requests are approved, which
puts a second message behind the first. Every fourth leak is so near its limit that its request expires before anybody could have
taken it. After the minutes a receiver comes up that checks each signature as Standard Webhooks says, answers 204, and notes what
came when. Then all that had not expired must have come: each id once, the approval after its request. Prints one JSON object.
"""
import argparse
import base64
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from datetime import datetime

SECRET = b"a secret of a measurement, 32 B."
STEP = 5
AGE = 20 * 60  # of the first leak when the server starts, seconds; samples of that time are the first it gets
LEAKS, EVERY = 30, 40  # each begins so many seconds after the one before
LIMIT = 100


def varint(n):
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes(out + bytes([n]))


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def snappy(data):
    """Valid and not compressed: literals only."""
    out = bytearray(varint(len(data)))
    for at in range(0, len(data), 65536):
        piece = data[at : at + 65536]
        out += b"\xf4" + struct.pack("<H", len(piece) - 1) + piece
    return bytes(out)


class Leak:
    """A pool with a tenth of its connections in use, which from some time on leaks."""

    def __init__(self, number, now):
        self.service = f"svc-{number:02}"
        # Most take an hour; every fourth twelve minutes, so that its request does not outlive the outage.
        takes = 12 * 60 if number % 4 == 3 else 60 * 60
        self.since = now - AGE + number * EVERY
        self.until, self.told = self.since + takes, now - AGE

    def series(self, to):
        """Samples since those told before, and until when."""
        times = range(-(-self.told // STEP) * STEP, to + 1, STEP)
        value = lambda at: 10 + (LIMIT - 10) * min(max(at - self.since, 0) / (self.until - self.since), 1)
        written = b""
        for name, of in [("hikaricp_connections_active", value), ("hikaricp_connections_max", lambda _: LIMIT)]:
            labels = {"__name__": name, "pod": f"{self.service}-1", "service": self.service}
            body = b"".join(field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in sorted(labels.items()))
            for at in times:
                body += field(2, b"\x09" + struct.pack("<d", of(at)) + b"\x10" + varint(at * 1000))
            written += field(1, body)
        return written


class Receiver(http.server.BaseHTTPRequestHandler):
    seen, bad = [], []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        key, stamp = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        digest = hmac.new(SECRET, f"{key}.{stamp}.".encode() + body, hashlib.sha256).digest()
        is_signed = f"v1,{base64.b64encode(digest).decode()}" in self.headers["webhook-signature"].split()
        if is_signed and abs(time.time() - int(stamp)) < 300:
            self.seen.append((time.time(), key, json.loads(body)))
        else:
            self.bad.append(key)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def spare_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, program, folder, hook):
        self.url = f"http://127.0.0.1:{spare_port()}"
        config = folder / "forewarn.toml"
        config.write_text(
            f'[store]\nurl = "file://{folder}/store"\n[dataset]\nstep = "{STEP}s"\n[signals]\npresets = ["hikaricp"]\n'
            f'[serve]\nlisten = "{self.url.removeprefix("http://")}"\nlateness = "1s"\n'
            f'[requests]\nwebhook = "http://127.0.0.1:{hook}/hook"\nmode = "approval"\nmax_per_hour = 1000\nmax_workloads = 1000\n'
            f'webhook_secret = "whsec_{base64.b64encode(SECRET).decode()}"\n'
        )
        self.log = folder / "serve.log"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("FOREWARN_")}
        environment |= {"FOREWARN_LOG": "warn", "FOREWARN_LOG_FORMAT": "json"}
        self.child = subprocess.Popen(
            [program, "serve", "--config", config], stdout=subprocess.DEVNULL, stderr=self.log.open("w"), env=environment
        )

    def ask(self, path, body=None, headers=None):
        request = urllib.request.Request(self.url + path, data=body, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            sys.exit(f"{path}: {error.code} {error.read().decode()}")
        return json.loads(text) if text and answer.headers.get_content_type() == "application/json" else text

    def is_ready(self):
        try:
            return urllib.request.urlopen(self.url + "/-/ready", timeout=30).status == 200
        except OSError:
            return False

    def write(self, leaks):
        to = int(time.time()) // STEP * STEP
        if to < leaks[0].told:
            return
        body = snappy(b"".join(leak.series(to) for leak in leaks))
        head = {"content-encoding": "snappy", "content-type": "application/x-protobuf", "x-prometheus-remote-write-version": "0.1.0"}
        self.ask("/api/v1/write", body, head)
        for leak in leaks:
            leak.told = to + STEP

    def tries(self):
        """Of each id, when it was tried in vain."""
        tried = {}
        for line in self.log.read_text().splitlines():
            entry = json.loads(line)
            fields = entry.get("fields", entry)
            if fields.get("message") == "delivery failed":
                at = datetime.fromisoformat(entry["timestamp"].replace("Z", "+00:00")).timestamp()
                tried.setdefault(fields["request_id"], []).append(at)
        return tried


def unix(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def play(server, hook, minutes):
    """The outage, then the receiver until nothing waits."""
    began, approved, most = time.time(), set(), 0
    leaks = [Leak(number, int(began)) for number in range(LEAKS)]
    while time.time() < began + minutes * 60:
        server.write(leaks)
        for request in server.ask("/api/v1/requests"):
            if request["status"] == "open" and request["id"] not in approved and int(request["service"][-2:]) % 2 == 0:
                server.ask(f"/api/v1/requests/{request['id']}/approve", b"{}", {"content-type": "application/json"})
                approved.add(request["id"])
        most = max(most, len(server.ask("/api/v1/outbox?state=pending")["messages"]))
        time.sleep(1)
    back = time.time()
    known = server.ask("/api/v1/requests?limit=1000")
    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", hook), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    while server.ask("/api/v1/outbox?state=pending")["messages"] and time.time() < back + 900:
        server.write(leaks)
        time.sleep(1)
    time.sleep(20)  # for what should not come: a second delivery
    return {"began": began, "back": back, "requests": known, "approved": approved, "most_pending": most}


def judge(server, story):
    back, seen = story["back"], list(Receiver.seen)
    outbox = {m["event_id"]: m for m in server.ask("/api/v1/outbox?state=expired")["messages"]}
    asked = {r["id"] for r in story["requests"]}
    messages = asked | {f"{one}-approved" for one in story["approved"]}
    expiry = {r["id"]: unix(r["expires_at"]) for r in story["requests"]}
    expires = {m: expiry[m.removesuffix("-approved")] for m in messages}
    order = [key for _, key, _ in seen if key in messages]
    came = {key: at for at, key, _ in seen}
    in_time = {m for m in messages if expires[m] > back}
    missing = sorted(m for m in in_time if m not in came)
    late = sorted(key for at, key, _ in seen if key in expires and at > expires[key])
    first = {key: order.index(key) for key in order}
    unordered = [m for m in first if m.endswith("-approved") and first[m] < first[m.removesuffix("-approved")]]
    tried = server.tries()
    waits = [b - a for times in tried.values() for a, b in zip(times, times[1:])]
    after = sorted(came[m] - back for m in in_time & set(came))
    heads = {m: tried[m] for m in in_time if m in tried and m in came}
    oldest = min(heads, key=lambda m: heads[m][0])
    told = {
        "webhook_away_seconds": round(back - story["began"]),
        "requests_while_away": len(asked),
        "messages_while_away": len(messages),
        "most_pending": story["most_pending"],
        "expired_while_away": len(messages - in_time),
        "not_expired": len(in_time),
        "of_these_delivered": len(in_time & set(came)),
        "missing": [f"{m}: expires {expires[m] - back:.0f} s after the return, {outbox.get(m, {}).get('last_error')}" for m in missing],
        "delivered_twice": sorted(key for key in set(order) if order.count(key) > 1),
        "delivered_after_expiry": late,
        "approval_before_request": unordered,
        "bad_signatures": len(Receiver.bad),
        "failed_tries": sum(map(len, tried.values())),
        "waits_between_tries_seconds": [round(w, 1) for w in (min(waits), max(waits))],
        "tries_of_the_oldest_seconds": [round(at - heads[oldest][0], 1) for at in heads[oldest]] + [round(came[oldest] - heads[oldest][0], 1)],
        "came_after_the_return_seconds": {"first": round(after[0], 1), "median": round(after[len(after) // 2], 1), "last": round(after[-1], 1)},
    }
    print(json.dumps(told, indent=2))
    return not (late or unordered or Receiver.bad or told["delivered_twice"] or any(expires[m] > back + 310 for m in missing))


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--forewarn", required=True)
    options.add_argument("--minutes", type=float, default=10)
    options.add_argument("--folder", type=pathlib.Path, help="where state and log stay; else a temporary folder")
    given = options.parse_args()
    folder = (given.folder or pathlib.Path(tempfile.mkdtemp())).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    hook = spare_port()
    server = Server(given.forewarn, folder, hook)
    try:
        while not server.is_ready():
            if server.child.poll() is not None:
                sys.exit(server.log.read_text())
            time.sleep(0.1)
        story = play(server, hook, given.minutes)
        sys.exit(0 if judge(server, story) else 1)
    finally:
        server.child.terminate()
        server.child.wait()


if __name__ == "__main__":
    main()
