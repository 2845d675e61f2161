"""Kills a router under load, over and over, and checks its ledger.

No row is lost that a client saw the end of, and spending is off by no more than the calls under way. Standard library only; loopback only.

    cargo build --release && python3 benches/kill9.py target/release/iron-runtime 200
"""

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from typing import Any, Dict, List, Tuple

TOKEN = "kill9"
CLIENTS = 8
HEADERS = {"authorization": "Bearer " + TOKEN, "content-type": "application/json"}
CHAT = {"model": "gpt-4o-mini", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello!"}]}
BODIES = [json.dumps(CHAT).encode(), json.dumps({**CHAT, "stream": True}).encode()]


def start(iron: str, *args: str) -> "Tuple[subprocess.Popen[str], int]":
    """Starts a command and gives its port."""
    process = subprocess.Popen([iron, *args], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline().rsplit(":", 1)[1])


def client(port: int, seen: List[int], nth: int) -> None:
    """Calls until the router dies; counts the replies whose end it saw."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        while True:
            connection.request("POST", "/v1/chat/completions", BODIES[nth % 2], HEADERS)
            reply = connection.getresponse()
            body = reply.read()
            assert reply.status == 200, (reply.status, body)
            if nth % 2 == 0 or b"[DONE]" in body:
                seen[nth] += 1
    except (OSError, http.client.HTTPException):
        return


def report(iron: str, ledger: str) -> Dict[str, Any]:
    """The ledger's figures."""
    text = subprocess.run([iron, "report", "--json", "--state", ledger], stdout=subprocess.PIPE, check=True, text=True).stdout
    figures: Dict[str, Any] = json.loads(text)
    return figures


def main() -> None:
    """Runs the rounds and prints what was found."""
    iron, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 200
    mock, mock_port = start(iron, "mock")
    url = f"http://127.0.0.1:{mock_port}"
    ledger = os.path.join(tempfile.mkdtemp(), "ledger.db")
    seen_all = worst_calls = 0
    per_call = 0
    try:
        for nth in range(rounds):
            router, port = start(
                iron, "serve", "--client-token", TOKEN, "--openai-key", "sk-x", "--openai-base-url", url, "--state", ledger
            )
            seen = [0] * CLIENTS
            threads = [threading.Thread(target=client, args=(port, seen, at)) for at in range(CLIENTS)]
            for thread in threads:
                thread.start()
            time.sleep(random.uniform(0.02, 0.3))
            router.send_signal(signal.SIGKILL)
            router.wait()
            for thread in threads:
                thread.join()
            seen_all += sum(seen)
            figures = report(iron, ledger)
            with urllib.request.urlopen(url + "/__stats") as reply:
                billed = json.load(reply)["nano_usd"]
            per_call = max(per_call, figures["cost_nano_usd"] // max(figures["requests"], 1))
            missing = seen_all - figures["requests"]
            assert missing <= 0, f"round {nth}: {missing} rows lost"
            # What the provider billed and the ledger does not know: calls under way when the router was killed, in every round so far.
            off = abs(billed - figures["cost_nano_usd"]) / max(per_call, 1)
            worst_calls = max(worst_calls, off / (nth + 1))
            assert off <= CLIENTS * (nth + 1), f"round {nth}: off by {off} calls"
        print(f"{rounds} kills: {seen_all} replies seen whole by clients, {figures['requests']} rows in the ledger, none lost")
        print(f"spending off by {worst_calls:.2f} calls a kill at most, {CLIENTS} were under way")
    finally:
        mock.terminate()
        mock.wait()


if __name__ == "__main__":
    main()
