#!/usr/bin/env python3
"""A complete Riff worker in Python's standard library.

It serves one model, `gradient`: pictures 256 pixels wide, painted from the prompt and the seed. It speaks every call of
docs/worker-protocol.md, so it is a start for a worker of your own: replace `MODEL` and `paint`.

    riff token create --worker python
    RIFF_HUB=http://127.0.0.1:7433 RIFF_TOKEN=riff_w_... python3 docs/worker.py

Ctrl-C stops it at once. The hub gives a job in hand to another worker when its lease has run out.
"""

import base64
import hashlib
import json
import math
import os
import struct
import sys
import threading
import time
import urllib.error
import urllib.request
import zlib

HUB = os.environ.get("RIFF_HUB", "http://127.0.0.1:7433").rstrip("/")
TOKEN = os.environ.get("RIFF_TOKEN", "")

PROTOCOL = 1
SIDE = 256
PREVIEW_SIDE = 64
HOLD_MS = 25_000  # How long the hub may hold a request open.
GRACE_S = 10  # What a held request may take beyond that.
TIMEOUT_S = 30  # For every other request.
REPORT_EVERY_S = 0.15  # Most often that progress is reported.
BACKOFF_S = (0.2, 10.0)  # First and longest wait before a call is tried again.

MODEL = {
    "name": "gradient",
    "title": "Gradient",
    "card": "Paints soft colours from the letters of the prompt. An example of a worker in another language.",
    "license": "CC0-1.0",
    "media": "image",
    "schema": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "seed": {
                "type": "integer",
                "minimum": 0,
                "maximum": 2**32 - 1,
                "title": "Seed",
                "description": "The same seed and words give the same picture.",
                "x-order": 1,
            },
            "count": {
                "type": "integer",
                "minimum": 1,
                "maximum": 4,
                "default": 1,
                "title": "Pictures",
                "description": "How many pictures one prompt gives.",
                "x-flags": ["n"],
                "x-order": 2,
            },
        },
    },
    # Any 64 hexadecimal digits that change whenever the same recipe would give other bytes.
    "fingerprint": hashlib.sha256(b"riff gradient 1").hexdigest(),
    "cost": {"fixed": 0.5},
}


# ---- The model -------------------------------------------------------------------------------------------------------


def paint(prompt, seed, side, step=lambda part: None):
    """A PNG of `side` x `side` pixels; calls `step` with the part done after every row."""
    dice = hashlib.sha512(f"{seed}\n{prompt}".encode()).digest()
    corners = [dice[i : i + 3] for i in (0, 3, 6, 9)]
    waves, lean, shift = 1 + dice[12] % 4, dice[13] / 32, dice[14] / 40
    rows = bytearray()
    for row in range(side):
        y = row / (side - 1)
        rows.append(0)  # PNG filter of the row: none.
        for column in range(side):
            x = column / (side - 1)
            bend = 0.5 + 0.5 * math.sin(waves * 3.0 * (x + y * lean) + shift)
            u, v = 0.7 * x + 0.3 * bend, 0.7 * y + 0.3 * bend
            for channel in range(3):
                top = corners[0][channel] * (1 - u) + corners[1][channel] * u
                bottom = corners[2][channel] * (1 - u) + corners[3][channel] * u
                rows.append(round(top * (1 - v) + bottom * v))
        step((row + 1) / side)
    return png(side, side, bytes(rows))


def png(width, height, rows):
    """Encodes 8-bit RGB rows, each led by its filter byte."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"".join([
        b"\x89PNG\r\n\x1a\n",
        chunk(b"IHDR", header),
        chunk(b"IDAT", zlib.compress(rows, 6)),
        chunk(b"IEND", b""),
    ])


# ---- Calls to the hub ------------------------------------------------------------------------------------------------


class Refused(Exception):
    """The hub said no, for good."""

    def __init__(self, status, detail):
        super().__init__(f"{detail} ({status})")
        self.status = status


class LeaseLost(Exception):
    """The attempt no longer holds its job: drop what it made."""


class Unknown(Exception):
    """The hub wants a hello first."""


class Cancelled(Exception):
    """Nobody wants the result any more."""


class Unreachable(Exception):
    """Nobody answered, or the hub is in trouble: the same call may go better later."""


def call(method, path, body=None, media_type="application/json", timeout=TIMEOUT_S):
    """One call; gives the decoded answer, or None where it has no body."""
    if media_type == "application/json" and body is not None:
        body = json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": media_type}
    request = urllib.request.Request(f"{HUB}/worker/v1/{path}", data=body, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            answer = response.read()
    except urllib.error.HTTPError as error:
        raise refusal(error.code, error.read()) from None
    except OSError as error:  # No connection, connection lost, or no answer in time.
        raise Unreachable(str(error)) from None
    except Exception as error:  # The connection broke within the answer.
        raise Unreachable(repr(error)) from None
    return json.loads(answer) if answer else None


def refusal(status, body):
    """What an answer that is no success means. Problems are JSON with `type` and `detail`."""
    try:
        problem = json.loads(body)
    except ValueError:
        problem = {}
    detail = problem.get("detail", body.decode(errors="replace").strip())
    if status >= 500:
        return Unreachable(f"{detail} ({status})")
    if status == 409:
        return Unknown(detail) if problem.get("type", "").endswith("unknown-worker") else LeaseLost(detail)
    return Refused(status, detail)


def patiently(make):
    """Repeats a call with growing waits while the hub cannot be reached."""
    wait = BACKOFF_S[0]
    while True:
        try:
            return make()
        except Unreachable as error:
            say(f"{error}; trying again in {wait:.1f} s")
        time.sleep(wait)
        wait = min(2 * wait, BACKOFF_S[1])


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---- One job ---------------------------------------------------------------------------------------------------------


class Attempt:
    """A leased job: its progress, and the two threads that keep it and listen for its cancel."""

    def __init__(self, lease, welcome):
        self.job, self.number, self.recipe = lease["job"], lease["attempt"], lease["recipe"]
        self.heartbeat_s, self.lease_s = welcome["heartbeat_ms"] / 1000, welcome["lease_ms"] / 1000
        self.progress, self.preview = 0.0, None
        self.changed = threading.Event()
        self.unwanted = threading.Event()  # Cancelled, or the lease is lost.
        self.ended = threading.Event()
        for task in (self.beat, self.listen):
            threading.Thread(target=task, daemon=True).start()

    def path(self, end):
        return f"jobs/{self.job}/{end}"

    def show(self, progress, preview=None):
        """Notes progress for the next report; stops the work if nobody wants it."""
        if self.unwanted.is_set():
            raise Cancelled
        self.progress, self.preview = progress, preview or self.preview
        self.changed.set()

    def beat(self):
        """Reports progress as it comes, and at least every heartbeat: a silent worker loses its job."""
        heard = time.monotonic()
        while not self.ended.is_set() and not self.unwanted.is_set():
            report = {"attempt": self.number, "progress": self.progress}
            preview, self.preview = self.preview, None
            if preview:
                report["preview"] = base64.b64encode(preview).decode()
            self.changed.clear()
            try:
                signal = call("POST", self.path("report"), report)["signal"]
                heard = time.monotonic()
                if signal == "cancel":
                    self.unwanted.set()
            except Unreachable as error:
                if time.monotonic() - heard > self.lease_s:
                    self.unwanted.set()
                say(f"report failed: {error}")
            except Exception:
                self.unwanted.set()
            self.ended.wait(REPORT_EVERY_S)
            self.changed.wait(max(self.heartbeat_s - REPORT_EVERY_S, 0))

    def listen(self):
        """Hears a cancel at once and not only with the next report. The hub answers when the job ends, too."""
        path = self.path(f"signal?attempt={self.number}&wait_ms={HOLD_MS}")
        while not self.ended.is_set() and not self.unwanted.is_set():
            try:
                if call("GET", path, timeout=HOLD_MS / 1000 + GRACE_S)["signal"] == "cancel":
                    self.unwanted.set()
            except Unreachable:
                self.ended.wait(1)
            except Exception:
                self.unwanted.set()

    def make(self):
        """Every picture of the recipe: picture `i` has the seed `seed + i`."""
        prompt, params = self.recipe["prompt"], self.recipe["params"]
        seed, count = params.get("seed", 0), params.get("count", 1)
        self.show(0.0, paint(prompt, seed, PREVIEW_SIDE))
        pictures = []
        for index in range(count):
            step = lambda part, done=index: self.show((done + part) / count)
            pictures.append(paint(prompt, (seed + index) % 2**32, SIDE, step))
        return pictures

    def deliver(self, pictures, seconds):
        """Uploads every picture, then completes. Both may be repeated when an answer was lost."""
        for index, picture in enumerate(pictures):
            path = self.path(f"outputs/{index}?attempt={self.number}")
            patiently(lambda: call("PUT", path, picture, "image/png"))
        complete = {"attempt": self.number, "outputs": len(pictures), "gpu_seconds": seconds}
        patiently(lambda: call("POST", self.path("complete"), complete))

    def fail(self, reason, retry):
        fail = {"attempt": self.number, "reason": reason, "retry": retry}
        patiently(lambda: call("POST", self.path("fail"), fail))

    def run(self):
        started = time.monotonic()
        try:
            try:
                pictures = self.make()
                self.deliver(pictures, time.monotonic() - started)
                say(f"{self.job}: done")
            except (Cancelled, LeaseLost, Unknown):
                raise
            except Exception as error:
                say(f"{self.job}: failed: {error}")
                self.fail(f"the gradient worker failed: {error}", True)
        except (Cancelled, LeaseLost, Unknown) as error:
            say(f"{self.job}: dropped: {str(error) or 'nobody wants it any more'}")
        except Refused as error:
            say(f"{self.job}: the hub refused its end: {error}")
        finally:
            self.ended.set()
            self.changed.set()


# ---- The loop --------------------------------------------------------------------------------------------------------


def hello():
    welcome = patiently(lambda: call("POST", "hello", {"protocol": PROTOCOL, "models": [MODEL]}))
    say(f"{welcome['worker']} serves {MODEL['name']} for {HUB}")
    return welcome


def main():
    if not TOKEN:
        sys.exit("Set RIFF_TOKEN to what `riff token create --worker NAME` printed.")
    welcome = hello()
    while True:
        wanted = {"wait_ms": HOLD_MS}
        try:
            lease = patiently(lambda: call("POST", "lease", wanted, timeout=HOLD_MS / 1000 + GRACE_S))
        except Unknown:
            welcome = hello()
            continue
        if lease:
            Attempt(lease, welcome).run()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except Refused as error:
        sys.exit(f"the hub refuses this worker: {error}")
