"""Anthropic's client through a router, by each of the addresses that scripts use.

Usage:
    python anthropic_client.py --mock      # no key, no network
    ANTHROPIC_API_KEY=sk-ant-… python anthropic_client.py
"""

import argparse
from typing import Any, Dict

from anthropic import Anthropic

from iron_runtime import LlmRouter


def main() -> None:
    """Ask one question by each address and print the answers."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--mock", action="store_true", help="answer from the mock provider")
    options = parser.parse_args()
    settings: Dict[str, Any] = {"mock": True} if options.mock else {"provider_key": "env:ANTHROPIC_API_KEY"}
    with LlmRouter(**settings) as router:
        for url in (router.anthropic_base_url, router.base_url, router.base_url.replace("/v1", "")):
            client = Anthropic(base_url=url, api_key=router.api_key)
            reply = client.messages.create(
                model="claude-sonnet-4-20250514", max_tokens=100, messages=[{"role": "user", "content": "Hello!"}]
            )
            print("".join(block.text for block in reply.content if block.type == "text"))


if __name__ == "__main__":
    main()
