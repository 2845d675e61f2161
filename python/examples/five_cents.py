"""Spend a budget of five cents to its end: both SDKs, streams, threads; then compare the bill with the provider's.

Usage:
    python five_cents.py                   # no key, no network: against the mock provider, which keeps books of its own
"""

import json
import subprocess
import sys
import threading
import urllib.request
from typing import Any, Callable, Dict, List

import anthropic
import openai

from iron_runtime import LlmRouter

BUDGET = 0.05
THREADS = 16


def openai_call(router: LlmRouter) -> Callable[[bool], None]:
    """A call of OpenAI's client, streamed or not."""
    client = openai.OpenAI(base_url=router.base_url, api_key=router.api_key, max_retries=0)
    messages: Any = [{"role": "user", "content": "Hello!"}]

    def call(stream: bool) -> None:
        if stream:
            for _ in client.chat.completions.create(model="gpt-4o-mini", messages=messages, stream=True):
                pass
        else:
            client.chat.completions.create(model="gpt-4o-mini", messages=messages)

    return call


def anthropic_call(router: LlmRouter) -> Callable[[bool], None]:
    """A call of Anthropic's client, streamed or not."""
    client = anthropic.Anthropic(base_url=router.anthropic_base_url, api_key=router.api_key, max_retries=0)
    model, messages = "claude-sonnet-4-20250514", [{"role": "user", "content": "Hello!"}]

    def call(stream: bool) -> None:
        if stream:
            with client.messages.stream(model=model, max_tokens=100, messages=messages) as events:  # type: ignore[arg-type]
                events.get_final_message()
        else:
            client.messages.create(model=model, max_tokens=100, messages=messages)  # type: ignore[arg-type]

    return call


def spend(call: Callable[[bool], None], refusals: List[str]) -> None:
    """Call until the router refuses."""
    stream = False
    while True:
        try:
            call(stream)
        except (openai.APIStatusError, anthropic.APIStatusError) as refused:
            assert refused.status_code == 402, refused
            refusals.append(str(refused))
            return
        stream = not stream


def main() -> None:
    """Spend the budget and print both bills."""
    mock = subprocess.Popen([sys.executable, "-m", "iron_runtime", "mock"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert mock.stdout is not None
    url = mock.stdout.readline().split()[-1]
    try:
        keys, bases = {"openai": "any", "anthropic": "any"}, {"openai": url, "anthropic": url}
        with LlmRouter(provider_keys=keys, base_urls=bases, budget=BUDGET) as router:
            refusals: List[str] = []
            calls = [(openai_call if nth % 2 else anthropic_call)(router) for nth in range(THREADS)]
            threads = [threading.Thread(target=spend, args=(call, refusals)) for call in calls]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            stats = router.stats()
        with urllib.request.urlopen(url + "/__stats") as reply:
            provider: Dict[str, Any] = json.load(reply)
        print(f"requests  {stats['requests']}, {stats['refused']} of them refused, {stats['failed']} failed")
        print(f"tokens    {stats['input_tokens']} in, {stats['output_tokens']} out")
        print(f"router    ${stats['cost_nano_usd'] / 1e9:.9f} of ${BUDGET:.2f}")
        print(f"provider  ${provider['nano_usd'] / 1e9:.9f}")
        print("refusal  ", refusals[0])
        assert stats["cost_nano_usd"] == provider["nano_usd"] <= BUDGET * 1e9
        assert len(refusals) == THREADS and stats["failed"] == 0
    finally:
        mock.terminate()
        mock.wait()


if __name__ == "__main__":
    main()
