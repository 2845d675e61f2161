"""The figures of README that are no ratio: start, memory, delay. Standard library only; loopback only; under a minute.

    cargo build --release && python3 benches/figures.py target/release/iron-runtime

Linux, because memory is read from /proc. Starts `iron-runtime mock` and `iron-runtime serve` and prints one line a figure.
"""

import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from typing import List, Tuple

TOKEN = "figures"
BODY = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello!"}]}).encode()
STREAM = json.dumps({"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "Hello!"}]}).encode()
HEADERS = {"authorization": "Bearer " + TOKEN, "content-type": "application/json"}


def start(iron: str, *args: str) -> "Tuple[subprocess.Popen[str], int]":
    """Starts a command and gives its port."""
    env = {**os.environ, "IRON_LOG": "error"}
    process = subprocess.Popen([iron, *args], stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None
    return process, int(process.stdout.readline().rsplit(":", 1)[1])


def serve(iron: str, mock: int) -> "Tuple[subprocess.Popen[str], int]":
    """A router in front of the mock."""
    url = f"http://127.0.0.1:{mock}"
    return start(iron, "serve", "--client-token", TOKEN, "--openai-key", "sk-x", "--openai-base-url", url)


def rss_mib(pid: int) -> float:
    """Resident memory, MiB."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def ask(connection: http.client.HTTPConnection) -> float:
    """One request on a kept-alive connection; its time in seconds."""
    begun = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", BODY, HEADERS)
    reply = connection.getresponse()
    reply.read()
    assert reply.status == 200, reply.status
    return time.perf_counter() - begun


def first_answer(iron: str, mock: int) -> float:
    """From the start of the process to the end of its first reply, ms."""
    begun = time.perf_counter()
    process, port = serve(iron, mock)
    ask(http.client.HTTPConnection("127.0.0.1", port))
    took = time.perf_counter() - begun
    process.terminate()
    process.wait()
    return took * 1e3


def delays(router: int, mock: int, count: int) -> "Tuple[float, float]":
    """What the router adds to a request, ms: p50 and p99, requests to router and mock in turn."""
    through, direct = http.client.HTTPConnection("127.0.0.1", router), http.client.HTTPConnection("127.0.0.1", mock)
    pairs = [(ask(through), ask(direct)) for _ in range(count)]
    base = statistics.median(pair[1] for pair in pairs[100:])
    added = sorted(pair[0] - base for pair in pairs[100:])
    return added[len(added) // 2] * 1e3, added[int(len(added) * 0.99)] * 1e3


def load(router: int, count: int, threads: int) -> None:
    """`count` requests over `threads` connections."""

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", router)
        for _ in range(count // threads):
            ask(connection)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def open_streams(router: int, count: int) -> "List[socket.socket]":
    """Streams of which the first bytes have come and most have not."""
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nx-mock: events=200,spacing=500\r\ncontent-length: {len(STREAM)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items()) + "\r\n"
    streams = []
    for _ in range(count):
        stream = socket.create_connection(("127.0.0.1", router))
        stream.sendall(head.encode() + STREAM)
        streams.append(stream)
    for stream in streams:
        assert stream.recv(12) == b"HTTP/1.1 200", "a stream did not begin"
    return streams


def main() -> None:
    """Measure and print."""
    iron = sys.argv[1] if len(sys.argv) > 1 else "target/release/iron-runtime"
    print(f"binary: {os.path.getsize(iron) / 1e6:.2f} MB")
    mock_process, mock = start(iron, "mock", "--port", "0")
    try:
        starts = [first_answer(iron, mock) for _ in range(10)]
        print(f"start to first answer: median {statistics.median(starts):.1f} ms, worst of 10 {max(starts):.1f} ms")
        router_process, router = serve(iron, mock)
        print(f"memory idle: {rss_mib(router_process.pid):.1f} MiB")
        p50, p99 = delays(router, mock, 3000)
        print(f"added by the router: p50 {p50:.3f} ms, p99 {p99:.3f} ms (one connection, Python client)")
        load(router, 10_000, 8)
        print(f"memory after 10,000 requests more on 8 connections: {rss_mib(router_process.pid):.1f} MiB")
        streams = open_streams(router, 500)
        print(f"memory with {len(streams)} open streams: {rss_mib(router_process.pid):.1f} MiB")
        for stream in streams:
            stream.close()
        router_process.terminate()
        router_process.wait()
    finally:
        mock_process.terminate()
        mock_process.wait()


if __name__ == "__main__":
    main()
