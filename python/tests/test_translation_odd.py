"""Requests that one provider takes and the other would not, were they passed on as they are: each is answered all the same."""

import base64
from typing import Any, Dict, Iterator, List

import pytest

from iron_runtime import LlmRouter

openai = pytest.importorskip("openai")
anthropic = pytest.importorskip("anthropic")

GPT, CLAUDE = "gpt-4o-mini", "claude-sonnet-4-20250514"
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0").decode()
PDF = base64.b64encode(b"%PDF-1.4\n%%EOF\n").decode()
Message = Dict[str, Any]


def user(content: Any) -> Message:
    return {"role": "user", "content": content}


def assistant(content: Any, **more: Any) -> Message:
    return {"role": "assistant", "content": content, **more}


def system(content: Any) -> Message:
    return {"role": "system", "content": content}


def calls(*ids: str, arguments: str = "{}", content: Any = None) -> Message:
    """An assistant's calls of the tool ``f``."""
    made = [{"id": each, "type": "function", "function": {"name": "f", "arguments": arguments}} for each in ids]
    return assistant(content, tool_calls=made)


def said(id: str, content: Any = "r") -> Message:
    return {"role": "tool", "tool_call_id": id, "content": content}


def text(words: str) -> Message:
    return {"type": "text", "text": words}


def uses(*ids: str) -> List[Message]:
    return [{"type": "tool_use", "id": each, "name": "f", "input": {}} for each in ids]


def result(id: str, **content: Any) -> Message:
    return {"type": "tool_result", "tool_use_id": id, **content}


FUNCTIONS = [{"type": "function", "function": {"name": "f"}}]
TOOLS = [{"name": "f", "input_schema": {"type": "object"}}]

OF_OPENAI: Dict[str, Dict[str, Any]] = {
    "white space between words": {"messages": [user("x"), assistant(" \n"), user([text("\n"), text("y ")])]},
    "an answer to go on with": {"messages": [user("x"), assistant("so it is ")]},
    "calls after white space": {"messages": [user("x"), calls("a", content="\n\n"), said("a")]},
    "calls after an empty text": {"messages": [user("x"), calls("a", content=[text("")]), said("a")]},
    "a result of nothing": {"messages": [user("x"), calls("a", "b"), said("a", ""), said("b", [text(" ")])]},
    "a result that comes late": {"messages": [user("x"), calls("a"), user("y"), said("a")]},
    "a system message in between": {"messages": [user("x"), calls("a"), system("s"), said("a")]},
    "results in another order": {"messages": [user("x"), calls("a", "b"), said("b"), said("a"), user("and?")]},
    "ids of another kind": {"messages": [user("x"), calls("functions.f:0"), said("functions.f:0")]},
    "arguments that are no JSON": {"messages": [user("x"), calls("a", arguments="oops"), said("a")]},
    "no arguments": {"messages": [user("x"), calls("a", arguments=""), said("a")]},
    "only a system message": {"messages": [system("s")], "tools": None},
    "a system message at the end": {"messages": [user("x"), assistant("y"), system("s")]},
    "no system message after all": {"messages": [system(""), user("x")]},
    "a schema without a type": {"messages": [user("x")], "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
    "an effort with little room": {"messages": [user("x")], "reasoning_effort": "high", "max_tokens": 1025},
    "an effort and a forced call": {"messages": [user("x")], "reasoning_effort": "high", "tool_choice": "required"},
    "an effort for calls without thoughts": {"messages": [user("x"), calls("a"), said("a")], "reasoning_effort": "high"},
    "an effort and a temperature": {"messages": [user("x")], "reasoning_effort": "low", "temperature": 0, "top_p": 0.5},
    "stops of white space": {"messages": [user("x")], "stop": ["\n\n", "END"]},
    "a temperature above 1": {"messages": [user("x")], "temperature": 1.9},
    "a picture called jpg": {"messages": [user([{"type": "image_url", "image_url": {"url": "data:image/jpg;base64," + JPEG}}])]},
    "a schema that is no object": {
        "messages": [user("x")],
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "array", "items": {}}}},
    },
    "JSON after a result": {"messages": [user("x"), calls("a"), said("a")], "response_format": {"type": "json_object"}},
}

OF_ANTHROPIC: Dict[str, Dict[str, Any]] = {
    "only thoughts": {"messages": [user("x"), assistant([{"type": "thinking", "thinking": "t", "signature": "s"}]), user("y")]},
    "sealed thoughts": {"messages": [user("x"), assistant([{"type": "redacted_thinking", "data": "d"}, text("z")]), user("y")]},
    "an answer to go on with": {"messages": [user("x"), assistant("{")]},
    "results in two messages": {
        "messages": [user("x"), assistant(uses("a", "b")), user([result("a", content="1")]), user([result("b", content="2")])]
    },
    "calls in two messages": {
        "messages": [user("x"), assistant(uses("a")), assistant(uses("b")), user([result("a", content="1"), result("b", content="2")])]
    },
    "words after a call": {"messages": [user("x"), assistant([*uses("a"), text("so")]), user([result("a", content="1"), text("y")])]},
    "a result of nothing": {"messages": [user("x"), assistant(uses("a", "b")), user([result("a"), result("b", content=[])])]},
    "a result that is an error": {"messages": [user("x"), assistant(uses("a")), user([result("a", content="no", is_error=True)])]},
    "a document as a result": {
        "messages": [
            user("x"),
            assistant(uses("a")),
            user([result("a", content=[{"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}}])]),
        ]
    },
    "a document of text": {
        "messages": [user([{"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "words"}}])]
    },
    "an early system message": {"messages": [user("x")], "system": ""},
    "six stops": {"messages": [user("x")], "stop_sequences": list("abcdef")},
    "no tools after all": {"messages": [user("x")], "tools": [], "tool_choice": {"type": "auto"}},
    "tools of the provider alone": {
        "messages": [user("x")],
        "tools": [{"type": "web_search_20250305", "name": "web_search"}],
        "tool_choice": {"type": "auto"},
    },
    "a budget": {"messages": [user("x")], "thinking": {"type": "enabled", "budget_tokens": 1024}},
    "a format that is open": {"messages": [user("x")], "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
    "marks": {"messages": [user([{**text("x"), "cache_control": {"type": "ephemeral", "ttl": "1h"}}])]},
}


@pytest.fixture(scope="module")
def router() -> Iterator[LlmRouter]:
    with LlmRouter(mock=True) as made:
        yield made


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", [CLAUDE, "claude-3-5-haiku-latest", "claude-opus-4-6", "claude-opus-4-8"])
@pytest.mark.parametrize("case", OF_OPENAI)
def test_of_openai_s_client(router: LlmRouter, case: str, model: str, stream: bool) -> None:
    request = {"tools": FUNCTIONS, **OF_OPENAI[case], "model": model}
    with openai.OpenAI(base_url=router.base_url, api_key=router.api_key, max_retries=0) as client:
        answer = client.chat.completions.create(**{name: value for name, value in request.items() if value is not None}, stream=stream)
        if stream:
            assert [choice.finish_reason for chunk in answer for choice in chunk.choices][-1]
        else:
            assert answer.choices[0].message.content or answer.choices[0].message.tool_calls


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", [GPT, "gpt-5-nano", "o3-mini"])
@pytest.mark.parametrize("case", OF_ANTHROPIC)
def test_of_anthropic_s_client(router: LlmRouter, case: str, model: str, stream: bool) -> None:
    request = {"tools": TOOLS, "max_tokens": 3000, **OF_ANTHROPIC[case], "model": model}
    with anthropic.Anthropic(base_url=router.anthropic_base_url, api_key=router.api_key, max_retries=0) as client:
        answer = client.messages.create(**request, stream=stream)
        if stream:
            assert [event.type for event in answer][-1] == "message_stop"
        else:
            assert answer.content and answer.stop_reason in ("end_turn", "tool_use")
