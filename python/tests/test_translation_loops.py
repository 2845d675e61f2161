"""Agents' loops: the same loop by each provider's own client, for models of both providers.

The mock checks what the providers check (every call answered, thoughts whole and signed, pictures that are pictures), and its last reply
quotes what it was shown and told.
"""

import base64
import json
import struct
import zlib
from typing import Any, Callable, Dict, Iterator, List, NamedTuple

import pytest

from iron_runtime import LlmRouter

openai = pytest.importorskip("openai")
anthropic = pytest.importorskip("anthropic")

GPT, CLAUDE = "gpt-4o-mini", "claude-sonnet-4-20250514"
SYSTEM = "You are a careful assistant.\nBe brief."
THOUGHT = "The mock needs no thought"
MOST_TURNS = 6


def schema(argument: str) -> Dict[str, Any]:
    """The schema of a tool with one argument."""
    properties = {argument: {"type": "string", "description": 'with "quotes" and ünïcode'}}
    return {"type": "object", "properties": properties, "required": [argument], "additionalProperties": False}


TOOLS: Dict[str, Dict[str, Any]] = {"get_weather": schema("city"), "get_time": schema("zone")}


def run_tool(name: str, arguments: Dict[str, Any]) -> str:
    """What a tool says."""
    assert set(arguments) == set(TOOLS[name]["properties"]), arguments
    return f'{name} says "22 °C" \\ ok'


def png(width: int, height: int) -> bytes:
    """A black picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress((b"\0" + b"\0\0\0" * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


PICTURE = png(7, 5)
SEEN = f"I see an image/png of {len(PICTURE)} bytes, 7\N{MULTIPLICATION SIGN}5 pixels."
PDF = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n%%EOF\n"


class Talk(NamedTuple):
    """What came of a loop."""

    text: str
    calls: List[List[str]]
    """The names of the tools called, by turn."""
    thoughts: List[str]
    """What was thought, by turn; empty where nothing was."""


class OpenAiAgent:
    """A loop with OpenAI's package."""

    modes = ("whole", "helper", "chunks", "forgetful")

    def __init__(self, router: LlmRouter, mode: str) -> None:
        self.client = openai.OpenAI(base_url=router.base_url, api_key=router.api_key, max_retries=0)
        self.mode = mode

    def content(self, text: str) -> Any:
        return text

    def picture(self, text: str) -> List[Dict[str, Any]]:
        url = "data:image/png;base64," + base64.b64encode(PICTURE).decode()
        return [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]

    def picture_at(self, url: str) -> List[Dict[str, Any]]:
        return [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "Look!"}]

    def document(self) -> List[Dict[str, Any]]:
        data = "data:application/pdf;base64," + base64.b64encode(PDF).decode()
        return [{"type": "file", "file": {"filename": "a report.pdf", "file_data": data}}, {"type": "text", "text": "Read!"}]

    def thinking(self) -> Dict[str, Any]:
        return {"reasoning_effort": "high"}

    def talk(self, model: str, content: Any, **more: Any) -> Talk:
        tools = [{"type": "function", "function": {"name": n, "parameters": s, "strict": True}} for n, s in TOOLS.items()]
        messages: List[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": content}]
        calls, thoughts = [], []
        for _ in range(MOST_TURNS):
            message = self.reply(model=model, messages=messages, tools=tools, **more)
            thoughts.append(message.get("reasoning_content") or "")
            called = message.get("tool_calls") or []
            if not called:
                return Talk(message["content"], calls, thoughts)
            calls.append([call["function"]["name"] for call in called])
            if self.mode == "forgetful":
                message = {name: message.get(name) for name in ("role", "content", "tool_calls")}
            messages.append(message)
            for call in called:
                said = run_tool(call["function"]["name"], json.loads(call["function"]["arguments"]))
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": said})
        raise AssertionError(f"no end: {calls}")

    def reply(self, **request: Any) -> Dict[str, Any]:
        """One message, as most agents keep it: as a dictionary without what is not there."""
        if self.mode == "chunks":
            return gathered(self.client.chat.completions.create(**request, stream=True))
        if self.mode == "helper":
            with self.client.chat.completions.stream(**request) as stream:
                message = stream.get_final_completion().choices[0].message
        else:
            message = self.client.chat.completions.create(**request).choices[0].message
        kept: Dict[str, Any] = message.model_dump(exclude_none=True, exclude={"parsed"})
        for call in kept.get("tool_calls") or []:
            call["function"].pop("parsed_arguments", None)
            call.pop("index", None)
        return kept


def gathered(chunks: Any) -> Dict[str, Any]:
    """A message put together from chunks by hand, the way programs without the helper do it."""
    message: Dict[str, Any] = {"role": "assistant", "content": None}
    calls: Dict[int, Dict[str, Any]] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            delta = choice.delta
            if delta.content:
                message["content"] = (message["content"] or "") + delta.content
            thought = getattr(delta, "reasoning_content", None)
            if thought:
                message["reasoning_content"] = message.get("reasoning_content", "") + thought
            for piece in delta.tool_calls or []:
                call = calls.setdefault(piece.index, {"type": "function", "function": {"name": "", "arguments": ""}})
                call["id"] = piece.id or call["id"]
                call["function"]["name"] += piece.function.name or ""
                call["function"]["arguments"] += piece.function.arguments or ""
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    return message


class AnthropicAgent:
    """A loop with Anthropic's package."""

    modes = ("whole", "helper", "events", "dictionaries")

    def __init__(self, router: LlmRouter, mode: str) -> None:
        self.client = anthropic.Anthropic(base_url=router.anthropic_base_url, api_key=router.api_key, max_retries=0)
        self.mode = mode

    def content(self, text: str) -> Any:
        return [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]

    def picture(self, text: str) -> List[Dict[str, Any]]:
        source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PICTURE).decode()}
        return [{"type": "image", "source": source}, {"type": "text", "text": text}]

    def picture_at(self, url: str) -> List[Dict[str, Any]]:
        return [{"type": "image", "source": {"type": "url", "url": url}}, {"type": "text", "text": "Look!"}]

    def document(self) -> List[Dict[str, Any]]:
        source = {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(PDF).decode()}
        return [{"type": "document", "source": source, "title": "a report.pdf"}, {"type": "text", "text": "Read!"}]

    def thinking(self) -> Dict[str, Any]:
        return {"thinking": {"type": "enabled", "budget_tokens": 2000}}

    def talk(self, model: str, content: Any, **more: Any) -> Talk:
        tools = [{"name": name, "description": "a tool", "input_schema": schema} for name, schema in TOOLS.items()]
        system = [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}]
        messages: List[Any] = [{"role": "user", "content": content}]
        calls, thoughts = [], []
        for _ in range(MOST_TURNS):
            reply = self.reply(model=model, max_tokens=4000, system=system, messages=messages, tools=tools, **more)
            thoughts.append("".join(block.thinking for block in reply.content if block.type == "thinking"))
            called = [block for block in reply.content if block.type == "tool_use"]
            assert (reply.stop_reason == "tool_use") == bool(called)
            if not called:
                return Talk("".join(block.text for block in reply.content if block.type == "text"), calls, thoughts)
            calls.append([block.name for block in called])
            content = [block.model_dump(exclude_none=True) for block in reply.content] if self.mode == "dictionaries" else reply.content
            messages.append({"role": "assistant", "content": content})
            results = [{"type": "tool_result", "tool_use_id": b.id, "content": run_tool(b.name, b.input)} for b in called]
            messages.append({"role": "user", "content": results})
        raise AssertionError(f"no end: {calls}")

    def reply(self, **request: Any) -> Any:
        if self.mode == "helper":
            with self.client.messages.stream(**request) as stream:
                return stream.get_final_message()
        if self.mode == "events":
            # The order of events is a part of the protocol: a block is open while its deltas come.
            opened: List[int] = []
            with self.client.messages.stream(**request) as stream:
                for event in stream:
                    if event.type == "content_block_start":
                        opened.append(event.index)
                    elif event.type == "content_block_delta":
                        assert event.index in opened
                    elif event.type == "content_block_stop":
                        opened.remove(event.index)
                assert not opened
                return stream.get_final_message()
        return self.client.messages.create(**request)


AGENTS = [(kind, mode) for kind in (OpenAiAgent, AnthropicAgent) for mode in kind.modes]


@pytest.fixture(params=AGENTS, ids=lambda param: f"{param[0].__name__}-{param[1]}")
def agent(request: pytest.FixtureRequest, faulty: LlmRouter) -> Iterator[Any]:
    """Each way to run a loop."""
    kind, mode = request.param
    made = kind(faulty, mode)
    with made.client:
        yield made


both_models = pytest.mark.parametrize("model", [GPT, CLAUDE])


@both_models
def test_two_tools_at_once(agent: Any, model: str) -> None:
    talk = agent.talk(model, agent.content("Use both tools, please."))
    assert talk.calls == [["get_weather", "get_time"]]
    assert 'The tools said: get_weather says "22 °C" \\ ok | get_time says "22 °C" \\ ok.' in talk.text
    assert "mock provider" in talk.text and not any(talk.thoughts)


@both_models
def test_one_tool_after_the_other(agent: Any, model: str) -> None:
    talk = agent.talk(model, agent.content("Use the weather tool, then the clock."))
    assert talk.calls == [["get_weather"], ["get_time"]]
    assert 'The tools said: get_time says "22 °C" \\ ok.' in talk.text


@both_models
def test_a_picture(agent: Any, model: str) -> None:
    assert SEEN in agent.talk(model, agent.picture("Look!")).text
    assert (
        "I see a picture at https://example.com/a%20b.png?c=d&e."
        in agent.talk(model, agent.picture_at("https://example.com/a%20b.png?c=d&e")).text
    )


@both_models
def test_a_picture_and_tools(agent: Any, model: str) -> None:
    talk = agent.talk(model, agent.picture("Look, use the weather tool, then the other one."))
    assert len(talk.calls) == 2 and "The tools said: get_time" in talk.text


@both_models
def test_a_document(agent: Any, model: str) -> None:
    assert f"I see a document of {len(PDF)} bytes named a report.pdf." in agent.talk(model, agent.document()).text


@pytest.mark.parametrize("how", ["Use both tools.", "Use one tool, then the other.", "Just think."])
def test_claude_thinks(agent: Any, how: str) -> None:
    """Thoughts come on every turn, each another, and the provider takes them back: the mock refuses turns without or with changed ones."""
    talk = agent.talk(CLAUDE, agent.content(how), **agent.thinking())
    assert len(talk.thoughts) == len(talk.calls) + 1 and len(set(talk.thoughts)) == len(talk.thoughts)
    assert all(thought.startswith(THOUGHT) for thought in talk.thoughts)


@pytest.mark.parametrize(
    "model", ["claude-3-7-sonnet-latest", "claude-opus-4-1", "claude-sonnet-4-5", "claude-opus-4-6", "claude-opus-4-8"]
)
def test_every_claude_thinks_in_its_own_way(faulty: LlmRouter, model: str) -> None:
    for mode in ("whole", "forgetful", "chunks"):
        talk = OpenAiAgent(faulty, mode).talk(model, "Use one tool, then the other.", reasoning_effort="medium")
        assert len(talk.calls) == 2 and all(talk.thoughts), mode


def test_a_model_that_can_t_think_answers(faulty: LlmRouter) -> None:
    agent = OpenAiAgent(faulty, "whole")
    assert len(agent.talk("claude-3-5-haiku-latest", "Use both tools.", reasoning_effort="high").calls) == 1


@pytest.mark.parametrize("model", ["gpt-5-nano", "gpt-5", "o3-mini", GPT])
def test_gpt_thinks_unseen(agent: Any, model: str) -> None:
    if isinstance(agent, OpenAiAgent) and model == GPT:
        pytest.skip("OpenAI refuses that, as it should")
    talk = agent.talk(model, agent.content("Use one tool, then the other."), **agent.thinking())
    assert len(talk.calls) == 2 and "mock provider" in talk.text and not any(talk.thoughts)


def test_gpt_thinks_as_much_as_it_is_asked_to(faulty: LlmRouter) -> None:
    agent = AnthropicAgent(faulty, "whole")

    def spent(**more: Any) -> int:
        messages = [{"role": "user", "content": "Hello!"}]
        return int(agent.client.messages.create(model="gpt-5-nano", max_tokens=4000, messages=messages, **more).usage.output_tokens)

    little, much = (spent(thinking={"type": "enabled", "budget_tokens": budget}) for budget in (1024, 3900))
    assert little <= much and much > 0


def test_a_picture_that_a_tool_gave(faulty: LlmRouter) -> None:
    """Anthropic's tools may answer with pictures; for OpenAI they go behind the results."""
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PICTURE).decode()}
    result = [{"type": "text", "text": "look"}, {"type": "image", "source": source}]
    tool = {"name": "get_weather", "input_schema": TOOLS["get_weather"]}
    messages: List[Dict[str, Any]] = [
        {"role": "user", "content": "The weather, please."},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "x"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": result}]},
    ]
    agent = AnthropicAgent(faulty, "whole")
    for model in (GPT, CLAUDE):
        reply = agent.client.messages.create(model=model, max_tokens=100, messages=messages, tools=[tool])
        assert SEEN in reply.content[0].text and "The tools said: look." in reply.content[0].text


def test_an_agent_may_change_the_provider_between_turns(faulty: LlmRouter) -> None:
    """A conversation that one provider began goes on with the other, calls, results, thoughts and all."""
    for kind, more in (
        (OpenAiAgent, {"reasoning_effort": "high"}),
        (AnthropicAgent, {"thinking": {"type": "enabled", "budget_tokens": 1500}}),
    ):
        agent = kind(faulty, "whole")
        reply: Callable[..., Any] = agent.reply
        for first, second in ((CLAUDE, "gpt-5-nano"), ("gpt-5-nano", CLAUDE)):
            if kind is OpenAiAgent:
                tools = [{"type": "function", "function": {"name": "get_weather", "parameters": TOOLS["get_weather"]}}]
                messages: List[Any] = [{"role": "user", "content": "The weather, please."}]
                message = reply(model=first, messages=messages, tools=tools, **more)
                # What only some servers know stays out of what is sent to OpenAI itself, as it must without a router.
                kept = {name: message[name] for name in ("role", "content", "tool_calls") if name in message}
                result = {"role": "tool", "tool_call_id": kept["tool_calls"][0]["id"], "content": "sunny"}
                answer = reply(model=second, messages=[*messages, kept, result], tools=tools, **more)["content"]
            else:
                tools = [{"name": "get_weather", "input_schema": TOOLS["get_weather"]}]
                request = {"max_tokens": 3000, "tools": tools}
                messages = [{"role": "user", "content": "The weather, please."}]
                message = reply(model=first, messages=messages, **request, **more)
                call = next(block for block in message.content if block.type == "tool_use")
                result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]}
                turns = [*messages, {"role": "assistant", "content": message.content}, result]
                # Without thinking from here on: a turn that OpenAI's model began has no thoughts to give to Anthropic.
                answer = "".join(b.text for b in reply(model=second, messages=turns, **request).content if b.type == "text")
            assert "The tools said: sunny." in answer, (kind, first)
