"""Tries a router by hand, with real keys or without.

Usage:
    python test_manual.py openai           # OPENAI_API_KEY, or IC_TOKEN with IC_SERVER
    python test_manual.py anthropic        # ANTHROPIC_API_KEY, or IC_TOKEN with IC_SERVER
    python test_manual.py gateway          # both keys: both providers at one address
    python test_manual.py gateway --mock   # no key, no network

Without any key it says so and uses the mock provider. Exit code 0: every call was answered.
"""

import argparse
import os
import sys
from typing import Any, Callable, Dict, List

from iron_runtime import IronError, LlmRouter

KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
HELLO: List[Any] = [{"role": "user", "content": "Hello!"}]


def try_openai(router: LlmRouter) -> None:
    """One answer, one stream."""
    from openai import OpenAI

    client = OpenAI(base_url=router.base_url, api_key=router.api_key)
    reply = client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)
    print("openai:", reply.choices[0].message.content)
    chunks = client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, stream=True)
    print("openai, streamed:", "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices))


def try_anthropic(router: LlmRouter) -> None:
    """One answer, one stream."""
    from anthropic import Anthropic

    model = "claude-sonnet-4-20250514"
    client = Anthropic(base_url=router.base_url.replace("/v1", ""), api_key=router.api_key)
    reply = client.messages.create(model=model, max_tokens=100, messages=HELLO)
    print("anthropic:", "".join(block.text for block in reply.content if block.type == "text"))
    with client.messages.stream(model=model, max_tokens=100, messages=HELLO) as stream:
        print("anthropic, streamed:", "".join(stream.text_stream))


def try_gateway(router: LlmRouter) -> None:
    """Both providers behind one address: the model's name decides where a call goes, whichever client asks."""
    from openai import OpenAI

    try_openai(router)
    try_anthropic(router)
    client = OpenAI(base_url=router.base_url, api_key=router.api_key)
    for model in ("gpt-4o-mini", "claude-sonnet-4-20250514"):
        reply = client.chat.completions.create(model=model, messages=HELLO)
        print(f"one client, {model}:", reply.choices[0].message.content)


WAYS: Dict[str, Callable[[LlmRouter], None]] = {"openai": try_openai, "anthropic": try_anthropic, "gateway": try_gateway}


def settings(way: str, mock: bool) -> Dict[str, Any]:
    """How to make the router: from a control server, from the keys that are there, or with the mock."""
    if not mock and os.environ.get("IC_TOKEN") and os.environ.get("IC_SERVER"):
        return {"api_key": os.environ["IC_TOKEN"], "server_url": os.environ["IC_SERVER"]}
    wanted = [way] if way in KEYS else list(KEYS)
    keys = {provider: "env:" + KEYS[provider] for provider in wanted if os.environ.get(KEYS[provider])}
    if not mock and len(keys) == len(wanted):
        return {"provider_keys": keys}
    if not mock:
        print("no key in", " and ".join(KEYS[provider] for provider in wanted), "- using the mock provider", file=sys.stderr)
    return {"mock": True}


def main() -> int:
    """Run one of the ways."""
    parser = argparse.ArgumentParser(description="Tries a router by hand.")
    parser.add_argument("way", choices=sorted(WAYS))
    parser.add_argument("--mock", action="store_true", help="use the mock provider even if there are keys")
    options = parser.parse_args()
    try:
        with LlmRouter(**settings(options.way, options.mock)) as router:
            print(router)
            WAYS[options.way](router)
    except IronError as error:
        print("can't start:", error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
