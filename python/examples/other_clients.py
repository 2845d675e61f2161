"""Other clients through a router: langchain-openai, the `llm` library, plain httpx, plain urllib.

Usage:
    python other_clients.py urllib --mock
    OPENAI_API_KEY=sk-… python other_clients.py langchain

Each takes an address and a key; that is all a router needs.
"""

import argparse
import json
import urllib.request
from typing import Any, Callable, Dict

from iron_runtime import LlmRouter

MODEL = "gpt-4o-mini"
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "Hello!"}]}


def with_urllib(router: LlmRouter) -> str:
    """Nothing but the standard library."""
    fields = {"authorization": "Bearer " + router.api_key, "content-type": "application/json"}
    request = urllib.request.Request(router.base_url + "/chat/completions", json.dumps(BODY).encode(), fields)
    with urllib.request.urlopen(request, timeout=60) as reply:
        return str(json.load(reply)["choices"][0]["message"]["content"])


def with_httpx(router: LlmRouter) -> str:
    """A stream of events, read line by line."""
    import httpx

    text = ""
    fields = {"authorization": "Bearer " + router.api_key}
    with httpx.stream("POST", router.base_url + "/chat/completions", json={**BODY, "stream": True}, headers=fields, timeout=60) as reply:
        reply.raise_for_status()
        for line in reply.iter_lines():
            if line.startswith("data: {"):
                choices = json.loads(line[len("data: ") :])["choices"]
                text += (choices[0]["delta"].get("content") or "") if choices else ""
    return text


def with_langchain(router: LlmRouter) -> str:
    """A chat model of LangChain's, whole and streamed."""
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    chat = ChatOpenAI(model=MODEL, base_url=router.base_url, api_key=SecretStr(router.api_key))
    streamed = "".join(str(chunk.content) for chunk in chat.stream("Hello!"))
    whole = str(chat.invoke("Hello!").content)
    if streamed != whole:
        raise SystemExit(f"streamed {streamed!r}, whole {whole!r}")
    return whole


def with_llm(router: LlmRouter) -> str:
    """The library of the `llm` command."""
    from llm.default_plugins.openai_models import Chat

    make: Any = Chat
    chat = make(model_id=MODEL, model_name=MODEL, api_base=router.base_url, key=None)
    return str(chat.prompt("Hello!", key=router.api_key, stream=True).text())


CLIENTS: Dict[str, Callable[[LlmRouter], str]] = {
    "urllib": with_urllib,
    "httpx": with_httpx,
    "langchain": with_langchain,
    "llm": with_llm,
}


def main() -> None:
    """Ask one question by one client and print the answer."""
    parser = argparse.ArgumentParser(description="Other clients through a router.")
    parser.add_argument("client", choices=sorted(CLIENTS))
    parser.add_argument("--mock", action="store_true", help="answer from the mock provider")
    options = parser.parse_args()
    settings: Dict[str, Any] = {"mock": True} if options.mock else {"provider_key": "env:OPENAI_API_KEY"}
    with LlmRouter(**settings) as router:
        print(CLIENTS[options.client](router))


if __name__ == "__main__":
    main()
