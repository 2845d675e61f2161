"""The quick start: OpenAI's client through a router.

Usage:
    python quickstart.py --mock            # no key, no network
    OPENAI_API_KEY=sk-… python quickstart.py
"""

import argparse
from typing import Any, Dict

from openai import OpenAI

from iron_runtime import LlmRouter


def main() -> None:
    """Ask one question and print the answer."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--mock", action="store_true", help="answer from the mock provider")
    options = parser.parse_args()
    settings: Dict[str, Any] = {"mock": True} if options.mock else {"provider_key": "env:OPENAI_API_KEY"}
    with LlmRouter(**settings) as router:
        client = OpenAI(base_url=router.base_url, api_key=router.api_key)
        reply = client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello!"}])
        print(reply.choices[0].message.content)
    print(f"{router.stats()['requests']} request")


if __name__ == "__main__":
    main()
