"""A line for every call, while a program makes calls.

Usage:
    python watch.py --mock                # no key, no network
    OPENAI_API_KEY=sk-… python watch.py
"""

import argparse
from typing import Any, Dict

from openai import OpenAI

from iron_runtime import LlmRouter


def show(event: Dict[str, Any]) -> None:
    """Print a call that is over."""
    if event["type"] in ("llm_request_completed", "llm_request_failed"):
        tokens, usd = event["input_tokens"] + event["output_tokens"], (event["cost_nano_usd"] or 0) / 1e9
        print(f"{event['model']}: {event['code'] or event['status']}, {event['duration_ms']:.0f} ms, {tokens} tokens, ${usd:.6f}")


def main() -> None:
    """Make three calls, the last one beyond the budget, and watch them."""
    parser = argparse.ArgumentParser(description="A line for every call.")
    parser.add_argument("--mock", action="store_true", help="answer from the mock provider")
    settings: Dict[str, Any] = {"mock": True} if parser.parse_args().mock else {"provider_key": "env:OPENAI_API_KEY"}
    with LlmRouter(**settings) as router, router.on_event(show):
        client = OpenAI(base_url=router.base_url, api_key=router.api_key, max_retries=0)
        ...


if __name__ == "__main__":
    main()
