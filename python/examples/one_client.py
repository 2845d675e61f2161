"""One client for both providers: an agent with OpenAI's package, a tool, and a model of Anthropic's.

Usage:
    python one_client.py --mock      # no key, no network
    OPENAI_API_KEY=sk-… ANTHROPIC_API_KEY=sk-ant-… python one_client.py

The loop is the one that is written for any of OpenAI's models: call, run the tools, give back what they said, until there is an answer.
"""

import argparse
import json
from typing import Any, Dict, List

from openai import OpenAI

from iron_runtime import LlmRouter

MODELS = ("claude-sonnet-4-20250514", "gpt-4o-mini")
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city, now.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def get_weather(city: str) -> str:
    """The tool; it has no idea."""
    return f"sunny in {city}"


def ask(client: OpenAI, model: str, question: str) -> str:
    """Asks until there is an answer."""
    messages: List[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": question}]
    while True:
        message = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER]).choices[0].message
        if not message.tool_calls:
            return message.content or ""
        messages.append(message)
        for call in message.tool_calls:
            if call.type == "function":
                result = get_weather(**json.loads(call.function.arguments))
                messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


def main() -> None:
    """Ask each model the same."""
    parser = argparse.ArgumentParser(description="One client for both providers.")
    parser.add_argument("--mock", action="store_true", help="answer from the mock provider")
    options = parser.parse_args()
    keys = {"openai": "env:OPENAI_API_KEY", "anthropic": "env:ANTHROPIC_API_KEY"}
    settings: Dict[str, Any] = {"mock": True} if options.mock else {"provider_keys": keys}
    with LlmRouter(**settings) as router:
        client = OpenAI(base_url=router.base_url, api_key=router.api_key)
        for model in MODELS:
            print(f"{model}: {ask(client, model, 'What is the weather in Brno?')}")


if __name__ == "__main__":
    main()
