"""What subscribers cost: CPU of the router a call at a fixed 1,000 calls a second, with 0 and with 10 of them, and how late events are.

Usage: python3 benches/live_cost.py target/release/iron-runtime   (needs the package websockets, and a machine that does nothing else)
"""

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from websockets.sync.client import connect

RATE, SECONDS, THREADS = 1000, 6, 4
BODY = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello!"}]})


def start(binary, *arguments):
    """Start a command; the process and its port."""
    process = subprocess.Popen([binary, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return process, int(process.stdout.readline().rsplit(":", 1)[1])


def cpu_seconds(pid):
    """CPU seconds of a process so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def caller(port, until, done):
    """Make calls at an even pace until then."""
    client, made = http.client.HTTPConnection("127.0.0.1", port), 0
    headers = {"authorization": "Bearer bench", "content-type": "application/json"}
    due = time.perf_counter()
    while due < until:
        time.sleep(max(0.0, due - time.perf_counter()))
        client.request("POST", "/v1/chat/completions", BODY, headers)
        client.getresponse().read()
        made += 1
        due += THREADS / RATE
    done.append(made)


def subscriber(port, seen):
    """Note the number of every finished call, and how late it was told."""
    with connect(f"ws://127.0.0.1:{port}/events", additional_headers={"authorization": "Bearer bench"}) as socket:
        for frame in socket:
            now = time.time() * 1000
            for line in frame.split("\n"):
                event = json.loads(line)
                if event["type"] == "llm_request_completed":
                    seen.append((event["seq"], now - event["at"] - event["duration_ms"]))
                elif event["type"] == "gap":
                    seen.append((None, event["missed"]))


def measure(router, port, subscribers):
    """One round; microseconds of CPU a call."""
    lists = [[] for _ in range(subscribers)]
    for seen in lists:
        threading.Thread(target=subscriber, args=(port, seen), daemon=True).start()
    time.sleep(0.5)
    done, before, until = [], cpu_seconds(router.pid), time.perf_counter() + SECONDS
    callers = [threading.Thread(target=caller, args=(port, until, done)) for _ in range(THREADS)]
    [thread.start() for thread in callers]
    [thread.join() for thread in callers]
    time.sleep(0.5)
    cost = (cpu_seconds(router.pid) - before) / sum(done) * 1e6
    late = sorted(late for seen in lists for seq, late in seen if seq is not None)
    gaps = sum(late for seen in lists for seq, late in seen if seq is None)
    text = f"{subscribers:2} subscribers: {sum(done) / SECONDS:.0f} calls a second, {cost:.1f} µs of CPU a call"
    if late:
        text += f", {gaps} events missed, delivery p50 {late[len(late) // 2]:.2f} ms, p99 {late[len(late) * 99 // 100]:.2f} ms"
    print(text, flush=True)
    return cost


def main():
    """Two rounds without subscribers, of which the first warms up, and one with ten."""
    binary = sys.argv[1]
    mock, mock_port = start(binary, "mock")
    keys = ["--openai-key", "k", "--openai-base-url", f"http://127.0.0.1:{mock_port}", "--client-token", "bench", "--state", "none"]
    router, port = start(binary, "serve", *keys)
    try:
        measure(router, port, 0)
        alone = measure(router, port, 0)
        print(f"ratio {measure(router, port, 10) / alone:.2f}")
    finally:
        router.terminate()
        mock.terminate()


if __name__ == "__main__":
    main()
