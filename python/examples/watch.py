"""A line for each call as it ends: ``python watch.py [--mock]``; without --mock it takes OPENAI_API_KEY."""

import sys
from typing import Any, Dict

from openai import OpenAI, OpenAIError

from iron_runtime import LlmRouter


def show(event: Dict[str, Any]) -> None:
    """Print a line for a call that is over."""
    if event["type"] in ("llm_request_completed", "llm_request_failed"):
        how, usd = event["code"] or event["status"], (event["cost_nano_usd"] or 0) / 1e9
        print(f"  {event['model']}: {how}, {event['duration_ms']:.0f} ms, {event['output_tokens']} tokens, ${usd:.6f}", flush=True)


settings: Dict[str, Any] = {"mock": True} if "--mock" in sys.argv else {"provider_key": "env:OPENAI_API_KEY"}
with LlmRouter(budget=0.01, **settings) as router:
    router.on_event(show)
    client = OpenAI(base_url=router.base_url, api_key=router.api_key)
    for model in ("gpt-4o-mini", "gpt-4.1-nano", "no-such-model"):
        try:
            print(client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hello!"}]).choices[0].message.content)
        except OpenAIError as error:
            print(error)
