#!/usr/bin/env python3
"""A router that only looks like one: the dashboard's page, and a story for it to show.

Serves the page as `dashboard.rs` puts it together, `/events`, `/stats` and `/history` in the router's JSON forms. Nothing but the standard
library. By itself it tells its story until it is interrupted: `fake_router.py [PORT] [EVENTS_A_SECOND]`.
"""

import base64
import contextlib
import hashlib
import heapq
import json
import os
import random
import re
import struct
import sys
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

SOURCE = Path(__file__).resolve().parents[2] / "src" / "live" / "dashboard.rs"
RING_EVENTS = 4096
TOKEN = "the-token"
# model, provider, protocol's path, nano-USD a token in and out, tokens a second
MODELS = [
    ("gpt-4o", "openai", "/v1/chat/completions", 2500, 10000, 90),
    ("gpt-4o-mini", "openai", "/v1/chat/completions", 150, 600, 140),
    ("gpt-4.1", "openai", "/v1/responses", 2000, 8000, 80),
    ("text-embedding-3-small", "openai", "/v1/embeddings", 20, 0, 0),
    ("claude-sonnet-4-20250514", "anthropic", "/v1/messages", 3000, 15000, 70),
    ("claude-3-5-haiku-latest", "anthropic", "/v1/messages", 800, 4000, 120),
    ("llama3.1:8b", "ollama", "/v1/chat/completions", None, None, 45),
]
WEIGHTS = [5, 8, 3, 3, 6, 4, 2]
AGENTS = ["researcher", "reviewer", "summariser", None]
FAILURES = [
    (
        429,
        "complete",
        False,
        None,
        '{"error":{"message":"Rate limit reached for gpt-4o in organization org-demo on tokens per min (TPM): '
        'Limit 30000, Used 29418, Requested 1204. Please try again in 1.244s.","type":"tokens","code":"rate_limit_exceeded"}}',
    ),
    (529, "complete", False, None, '{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'),
    (502, "upstream_failed", False, "upstream_unreachable", "connection refused: api.openai.com:443"),
    (200, "upstream_cut", False, None, "the provider closed the connection after 1,482 bytes, in the middle of an event"),
    (200, "client_gone", False, None, None),
    (402, "refused", True, "insufficient_budget", "this call could cost $0.2140, and $0.1893 of the budget is free"),
    (
        400,
        "refused",
        True,
        "unknown_model",
        "no price is known for the model gpt-9; name one with --prices, or allow it with --unknown-model allow",
    ),
]
HEADERS = [
    ["content-type", "application/json"],
    ["user-agent", "OpenAI/Python 1.99.1"],
    ["x-stainless-lang", "python"],
    ["accept-encoding", "gzip, deflate"],
]
REPLY_HEADERS = [
    ["content-type", "text/event-stream; charset=utf-8"],
    ["openai-processing-ms", "412"],
    ["x-ratelimit-remaining-tokens", "28796"],
]


def page_parts():
    """What `dashboard.rs` compiles in: the page, both login forms, the policy; by its own `concat!`s."""
    rust = SOURCE.read_text()
    macros = {}

    def text_of(items):
        parts = []
        for item in re.finditer(r'include_str!\("([^"]+)"\)|(\w+)!\(\)|"((?:[^"\\]|\\.)*)"', items):
            file, macro, literal = item.groups()
            if file:
                parts.append((SOURCE.parent / file).read_text())
            elif macro:
                parts.append(macros[macro])
            else:
                parts.append(literal.replace("\\n", "\n").replace('\\"', '"'))
        return "".join(parts)

    for name, body in re.findall(r"macro_rules! (\w+) \{\s*\(\) => \{(.*?)\n    \};", rust, re.S):
        macros[name] = text_of(body)
    documents = {name: text_of(items) for name, items in re.findall(r"const (\w+): &str = concat!\((.*?)\);\n", rust, re.S)}
    policy = re.sub(r"\\\n\s*", "", re.search(r'format!\(\s*"(.*?)",', rust, re.S).group(1))
    for macro in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(macros[macro].encode()).digest()).decode()
        policy = policy.replace("{}", "sha256-" + digest, 1)
    return documents, policy


def now_ms():
    return int(time.time() * 1000)


class FakeRouter:
    """The story and its server. Attributes may be changed while it runs."""

    def __init__(self, port=0, rate=12.0, budget=5.0, earlier=True, seed=7):
        self.documents, self.policy = page_parts()
        self.random = random.Random(seed)
        self.rate = rate  # events a second
        self.limit = budget
        self.capture = True
        self.signed_in = True
        self.refuse = False  # whether new sockets are turned away
        self.ring = deque(maxlen=RING_EVENTS)
        self.changed = threading.Condition()
        self.history = []
        self.serial = self.seq = 0
        self.spent = 0
        self.started_at = now_ms()
        self.open = []
        self.sockets = set()
        self.reached = set()
        self.totals = dict(requests=0, failed=0, refused=0, input_tokens=0, output_tokens=0)
        self.ending = False
        if earlier:
            self.tell_earlier()
        self.server = ThreadingHTTPServer(("127.0.0.1", port), type("Bound", (Pages,), {"router": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/dashboard"

    def start(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        threading.Thread(target=self.tell_story, daemon=True).start()
        return self

    def close(self):
        self.ending = True
        self.server.shutdown()
        self.server.server_close()

    def push(self, event):
        with self.changed:
            self.seq += 1
            self.ring.append({"seq": self.seq, **event})
            self.changed.notify_all()

    def gap(self, missed):
        """What a subscriber hears that was too slow."""
        for socket in list(self.sockets):
            socket.say(json.dumps({"type": "gap", "missed": missed}))

    def cut(self):
        """Breaks every socket off, without a close frame."""
        for socket in list(self.sockets):
            socket.cut()

    def begin(self, at):
        model, provider, path, dear_in, dear_out, speed = self.random.choices(MODELS, WEIGHTS)[0]
        self.serial += 1
        stream = path != "/v1/embeddings" and self.random.random() < 0.7
        started = {
            "at": at,
            "type": "llm_request_started",
            "call": self.serial,
            "agent": self.random.choice(AGENTS),
            "model": model,
            "provider": provider,
            "method": "POST",
            "path": path,
            "stream": stream,
            "translated": self.random.random() < 0.1,
            "request_bytes": self.random.randint(300, 48000),
        }
        return started, self.finish(started, dear_in, dear_out, speed)

    def finish(self, started, dear_in, dear_out, speed):
        """How the call will end."""
        draw = self.random
        tokens_in = started["request_bytes"] // 4
        cached = int(tokens_in * draw.choice([0, 0, 0.5, 0.8]))
        tokens_out = draw.randint(20, 700) if speed else 0
        sent = draw.uniform(0.05, 0.4)
        head = sent + draw.lognormvariate(5.6, 0.5)
        first = head + draw.uniform(0.2, 3)
        received = first + (1000 * tokens_out / speed if speed and started["stream"] else draw.uniform(1, 20))
        status, end, refused, code, error = 200, "complete", False, None, None
        if draw.random() < 0.07:
            status, end, refused, code, error = draw.choice(FAILURES)
        if refused or end == "upstream_failed":
            sent, head, first, received = (None if refused else sent), None, draw.uniform(0.1, 0.3), None
            duration = first + draw.uniform(0.05, 2)
        else:
            received = received if end == "complete" and status < 400 else first + 1
            duration = received + draw.uniform(0.05, 0.3)
        if status != 200 or refused:
            tokens_in = cached = tokens_out = 0
        cost = None if dear_in is None else (tokens_in - cached) * dear_in + cached * dear_in // 10 + tokens_out * dear_out
        return {
            **started,
            "type": "llm_request_completed" if end == "complete" and status == 200 else "llm_request_failed",
            "status": status,
            "end": end,
            "refused": refused,
            "code": code,
            "request_id": f"req_{draw.getrandbits(64):016x}",
            "duration_ms": round(duration, 3),
            "first_byte_ms": round(first, 3),
            "sent_ms": sent and round(sent, 3),
            "head_ms": head and round(head, 3),
            "received_ms": received and round(received, 3),
            "reply_bytes": 40 + tokens_out * 6,
            "input_tokens": tokens_in,
            "cached_tokens": cached,
            "output_tokens": tokens_out,
            "reasoning_tokens": tokens_out // 3 if started["model"] == "gpt-4.1" else 0,
            "cost_nano_usd": cost,
            "estimated": end in ("upstream_cut", "client_gone"),
            "details": self.details(error),
        }

    def details(self, error):
        body = json.dumps(
            {
                "model": "gpt-4o",
                "stream": True,
                "messages": [{"role": "user", "content": "Summarise the findings of the review in three sentences."}],
            }
        )
        kept = {"request_headers": HEADERS, "reply_headers": REPLY_HEADERS, "error": error, "request_body": None, "reply_body": None}
        return (
            {**kept, "request_body": body, "reply_body": 'data: {"choices":[{"delta":{"content":"The review"}}]}\n\n'}
            if self.capture
            else kept
        )

    def settle(self, closed):
        for key, value in (
            ("requests", 1),
            ("failed", closed["type"] == "llm_request_failed"),
            ("refused", closed["refused"]),
            ("input_tokens", closed["input_tokens"]),
            ("output_tokens", closed["output_tokens"]),
        ):
            self.totals[key] += int(value)
        self.spent += closed["cost_nano_usd"] or 0
        self.history.append({key: value for key, value in closed.items() if key != "details"})
        del self.history[:-20000]
        for percent in (50, 80, 95, 100):
            if self.limit and percent not in self.reached and self.spent >= self.limit * 1e7 * percent:
                self.reached.add(percent)
                self.push(
                    {
                        "at": now_ms(),
                        "type": "budget_threshold_reached",
                        "agent": None,
                        "percent": percent,
                        "spent_nano_usd": self.spent,
                        "limit_nano_usd": int(self.limit * 1e9),
                    }
                )

    def tell_earlier(self):
        """What happened in the hour before, told by the ledger, and in the last minutes, told by the ring."""
        now = now_ms()
        self.started_at = now - 240_000
        at = now - 3_500_000
        while at < now - 1000:
            started, closed = self.begin(int(at))
            if at + closed["duration_ms"] < now:
                if at > self.started_at:
                    self.push(started)
                    self.push(closed)
                self.settle(closed)
            at += self.random.expovariate(1 / (1500 if at > self.started_at else 6000)) * (1 + 0.6 * ((at // 400_000) % 3))

    def tell_story(self):
        next_call = time.time()
        while not self.ending:
            now = time.time()
            while self.open and self.open[0][0] <= now:
                closed = heapq.heappop(self.open)[2]
                self.settle(closed)
                self.push(closed)
            if self.rate and now >= next_call:
                started, closed = self.begin(now_ms())
                if not closed["refused"]:
                    self.push(started)
                heapq.heappush(self.open, (now + closed["duration_ms"] / 1000, self.serial, closed))
                next_call = max(next_call + 2 / self.rate, now - 0.2)
            time.sleep(0.002)

    def stats(self):
        return {
            **self.totals,
            "cost_nano_usd": self.spent,
            "spent_usd": self.spent / 1e9,
            "held_usd": 0.002 * len(self.open),
            "limit_usd": self.limit,
            "by_model": {},
            "by_provider": {},
            "by_agent": {},
            "by_day": {},
        }

    def earlier(self, limit, before):
        calls = [call for call in reversed(self.history) if before is None or call["at"] < before]
        return {"calls": calls[:limit], "more": len(calls) > limit}


class Subscriber:
    """One WebSocket (RFC 6455), written to only."""

    def __init__(self, connection):
        self.connection = connection
        self.lock = threading.Lock()
        self.alive = True

    def say(self, text):
        payload = text.encode()
        size = len(payload)
        head = (
            struct.pack("!BB", 0x81, size)
            if size < 126
            else struct.pack("!BBH", 0x81, 126, size)
            if size < 65536
            else struct.pack("!BBQ", 0x81, 127, size)
        )
        with self.lock:
            try:
                self.connection.sendall(head + payload)
            except OSError:
                self.alive = False

    def cut(self):
        self.alive = False
        with contextlib.suppress(OSError):
            self.connection.shutdown(2)


class Pages(BaseHTTPRequestHandler):
    """The router's pages. `router` is set by a subclass."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, kind, body, **fields):
        body = body.encode()
        self.send_response(status)
        for name, value in {
            "content-type": kind,
            "content-length": str(len(body)),
            "cache-control": "no-store",
            "referrer-policy": "strict-origin",
            **fields,
        }.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def document(self, name, status=200):
        referrer = "no-referrer" if name == "PAGE" else "strict-origin"
        fields = {"content-security-policy": self.router.policy, "referrer-policy": referrer}
        self.answer(status, "text/html; charset=utf-8", self.router.documents[name], **fields)

    def do_GET(self):
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        router = self.router
        if url.path == "/dashboard":
            self.document("PAGE" if router.signed_in else "LOGIN", 200 if router.signed_in else 401)
        elif not router.signed_in or (router.refuse and url.path == "/events"):
            self.answer(401 if not router.signed_in else 503, "application/json", "{}")
        elif url.path == "/events":
            self.events(int(query.get("since", router.seq)))
        elif url.path == "/stats":
            self.answer(200, "application/json", json.dumps(router.stats()))
        elif url.path == "/history":
            before = query.get("before")
            self.answer(200, "application/json", json.dumps(router.earlier(int(query.get("limit", 200)), before and int(before))))
        else:
            self.answer(404, "text/plain", "")

    def do_POST(self):
        # As the router does: a form from anywhere else, or from nowhere, is none.
        if self.headers.get("origin") != f"http://{self.headers['host']}":
            self.answer(403, "text/plain", "")
            return
        token = parse_qs(self.rfile.read(int(self.headers.get("content-length", 0))).decode()).get("token", [""])[0]
        if self.headers.get("origin") not in (None, "http://" + self.headers["host"]):
            self.answer(403, "application/json", "{}")
            return
        if token != TOKEN:
            self.document("LOGIN_AGAIN", 401)
            return
        self.router.signed_in = True
        self.answer(303, "text/plain", "", location="/dashboard")

    def events(self, since):
        accept = base64.b64encode(
            hashlib.sha1((self.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        ).decode()
        self.send_response(101)
        for name, value in (("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-accept", accept)):
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        router = self.router
        subscriber = Subscriber(self.connection)
        router.sockets.add(subscriber)
        subscriber.say(
            json.dumps(
                {
                    "type": "hello",
                    "version": 1,
                    "seq": router.seq,
                    "router": "0.1.0",
                    "started_at": router.started_at,
                    "ledger": True,
                    "capture": router.capture,
                }
            )
        )
        while subscriber.alive and not router.ending:
            with router.changed:
                if router.seq <= since:
                    router.changed.wait(0.2)
                # The newest are at the right end of the ring: no need to look at all of it for a few.
                fresh = []
                for event in reversed(router.ring):
                    if event["seq"] <= since:
                        break
                    fresh.append(event)
            fresh.reverse()
            if fresh:
                since = fresh[-1]["seq"]
            for at in range(0, len(fresh), 64):
                subscriber.say("\n".join(json.dumps(event) for event in fresh[at : at + 64]))
        router.sockets.discard(subscriber)


if __name__ == "__main__":
    port, rate = (sys.argv[1:] + ["8899", "12"][len(sys.argv) - 1 :])[:2]
    fake = FakeRouter(int(port), float(rate), budget=float(os.environ.get("FAKE_BUDGET", "5")) or None).start()
    print(fake.url, flush=True)
    try:
        while True:
            time.sleep(60)
    except KeyboardInterrupt:
        fake.close()
