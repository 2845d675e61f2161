"""Streams of both providers through one router, each by its own client.

Usage:
    python streaming.py --mock             # no key, no network
    OPENAI_API_KEY=sk-… ANTHROPIC_API_KEY=sk-ant-… python streaming.py
"""

import argparse
from typing import Any, Dict

from anthropic import Anthropic
from openai import OpenAI

from iron_runtime import LlmRouter

KEYS = {"openai": "env:OPENAI_API_KEY", "anthropic": "env:ANTHROPIC_API_KEY"}


def openai_stream(router: LlmRouter) -> None:
    """Print a chat completion while it comes."""
    client = OpenAI(base_url=router.base_url, api_key=router.api_key)
    for chunk in client.chat.completions.create(model="gpt-4o-mini", stream=True, messages=[{"role": "user", "content": "Hello!"}]):
        if chunk.choices and chunk.choices[0].delta.content:
            print(chunk.choices[0].delta.content, end="", flush=True)
    print()


def anthropic_stream(router: LlmRouter) -> None:
    """Print a message while it comes."""
    client = Anthropic(base_url=router.anthropic_base_url, api_key=router.api_key)
    with client.messages.stream(
        model="claude-sonnet-4-20250514", max_tokens=100, messages=[{"role": "user", "content": "Hello!"}]
    ) as stream:
        for text in stream.text_stream:
            print(text, end="", flush=True)
    print()


def main() -> None:
    """Stream an answer of each provider."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--mock", action="store_true", help="answer from the mock provider")
    options = parser.parse_args()
    settings: Dict[str, Any] = {"mock": True} if options.mock else {"provider_keys": KEYS}
    with LlmRouter(**settings) as router:
        openai_stream(router)
        anthropic_stream(router)


if __name__ == "__main__":
    main()
