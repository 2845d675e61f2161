"""What the two packages offer beyond plain calls, for models of the other provider: helpers, typed blocks, lists, counts, errors."""

import asyncio
import json
from typing import Any, Dict, Iterator, List, Type

import pytest
from conftest import ANTHROPIC_KEY, OPENAI_KEY, MockProvider, direct
from test_contract import EXAMPLES, program

from iron_runtime import LlmRouter

openai = pytest.importorskip("openai")
anthropic = pytest.importorskip("anthropic")
pydantic = pytest.importorskip("pydantic")

GPT, CLAUDE, NEW_CLAUDE = "gpt-4o-mini", "claude-sonnet-4-20250514", "claude-sonnet-4-5"
HELLO = [{"role": "user", "content": "Hello!"}]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
FUNCTION = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER, "strict": True}}
TOOL = {"name": "get_weather", "input_schema": WEATHER}

CONTRACT = """
import os
from iron_runtime import LlmRouter
from openai import OpenAI
with LlmRouter(provider_keys={"openai": "env:OPENAI_API_KEY", "anthropic": "env:ANTHROPIC_API_KEY"}) as router:
    client = OpenAI(base_url=router.base_url, api_key=router.api_key)
    for model in ("gpt-4o-mini", "claude-sonnet-4-20250514"):
        for chunk in client.chat.completions.create(model=model, stream=True, messages=[{"role": "system", "content": "Be brief."},
                                                                                       {"role": "user", "content": "Hello!"}]):
            if chunk.choices and chunk.choices[0].delta.content:
                print(chunk.choices[0].delta.content, end="", flush=True)
"""


class City(pydantic.BaseModel):
    name: str
    people: int


@pytest.fixture
def gpt_client(faulty: LlmRouter) -> Iterator[Any]:
    with openai.OpenAI(base_url=faulty.base_url, api_key=faulty.api_key, max_retries=0) as client:
        yield client


@pytest.fixture
def claude_client(faulty: LlmRouter) -> Iterator[Any]:
    with anthropic.Anthropic(base_url=faulty.anthropic_base_url, api_key=faulty.api_key, max_retries=0) as client:
        yield client


def lossy(raw: Any) -> List[str]:
    """What a reply says was left out."""
    return sorted(name for name in raw.headers.get("x-iron-lossy", "").split(",") if name)


# OpenAI's package.


@pytest.mark.parametrize("model", [GPT, CLAUDE, NEW_CLAUDE, "claude-3-5-haiku-latest", "claude-opus-4-8"])
def test_parse(gpt_client: Any, model: str) -> None:
    choice = gpt_client.chat.completions.parse(model=model, messages=HELLO, response_format=City).choices[0]
    assert isinstance(choice.message.parsed, City) and choice.finish_reason == "stop"
    assert not choice.message.tool_calls and json.loads(choice.message.content)


@pytest.mark.parametrize("model", [GPT, CLAUDE, NEW_CLAUDE])
def test_parse_streamed(gpt_client: Any, model: str) -> None:
    with gpt_client.chat.completions.stream(model=model, messages=HELLO, response_format=City) as stream:
        kinds = {event.type for event in stream}
        assert {"chunk", "content.delta", "content.done"} <= kinds
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, City)


@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_a_json_object(gpt_client: Any, model: str) -> None:
    messages = [{"role": "user", "content": "Say it in JSON."}]
    reply = gpt_client.chat.completions.create(model=model, messages=messages, response_format={"type": "json_object"})
    assert isinstance(json.loads(reply.choices[0].message.content), dict)


@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_the_stream_helper(gpt_client: Any, model: str) -> None:
    with gpt_client.chat.completions.stream(model=model, messages=HELLO, stream_options={"include_usage": True}) as stream:
        said = "".join(event.delta for event in stream if event.type == "content.delta")
        final = stream.get_final_completion()
    assert final.choices[0].message.content == said and "mock provider" in said
    assert final.choices[0].finish_reason == "stop" and final.model == model and final.object == "chat.completion"
    assert final.usage.total_tokens == final.usage.prompt_tokens + final.usage.completion_tokens > 2


@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_the_accumulator_of_tool_calls(gpt_client: Any, model: str) -> None:
    messages = [{"role": "user", "content": "Use the tool."}]
    with gpt_client.chat.completions.stream(model=model, messages=messages, tools=[FUNCTION], tool_choice="required") as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
        call = stream.get_final_completion().choices[0].message.tool_calls[0]
    assert [event.name for event in done] == ["get_weather"]
    assert call.id and call.type == "function" and call.function.parsed_arguments == {"city": "mock"}


@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_chunks_are_as_documented(gpt_client: Any, model: str) -> None:
    for usage in (False, True):
        options = {"stream_options": {"include_usage": True}} if usage else {}
        chunks = list(gpt_client.chat.completions.create(model=model, messages=HELLO, stream=True, **options))
        assert len({chunk.id for chunk in chunks}) == 1 and all(chunk.object == "chat.completion.chunk" for chunk in chunks)
        assert chunks[0].choices[0].delta.role == "assistant" and all(chunk.model == model for chunk in chunks)
        reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
        assert reasons == ["stop"]
        assert (chunks[-1].usage is not None and not chunks[-1].choices) == usage
        assert all(chunk.usage is None for chunk in chunks[: -1 if usage else None])


def test_thoughts_are_accumulated(gpt_client: Any) -> None:
    with gpt_client.chat.completions.stream(model=CLAUDE, messages=HELLO, reasoning_effort="high") as stream:
        message = stream.get_final_completion().choices[0].message
    whole = gpt_client.chat.completions.create(model=CLAUDE, messages=HELLO, reasoning_effort="high").choices[0].message
    assert message.reasoning_content == whole.reasoning_content and message.content == whole.content
    first, other = message.reasoning_details[0], whole.reasoning_details[0]
    assert (first["type"], first["text"], first["signature"]) == (other["type"], other["text"], other["signature"])


SAME: Dict[str, Dict[str, Any]] = {
    "text": {},
    "calls": {"messages": [{"role": "user", "content": "Use both tools."}]},
    "thought": {"thinks": True},
    "sealed thought and calls": {"thinks": True, "messages": [{"role": "user", "content": "A secret: use both tools."}]},
    "cut": {"limit": 3},
    "cut calls": {"limit": 3, "messages": [{"role": "user", "content": "Use both tools."}]},
}


@pytest.mark.parametrize("model", [GPT, "gpt-5-nano", CLAUDE])
@pytest.mark.parametrize("case", SAME)
def test_a_stream_tells_what_the_whole_reply_tells(gpt_client: Any, claude_client: Any, case: str, model: str) -> None:
    asked = dict(SAME[case])
    thinks, limit, messages = asked.pop("thinks", False), asked.pop("limit", 4000), asked.pop("messages", HELLO)
    tools = [{"name": name, "input_schema": WEATHER} for name in ("get_weather", "clock")]
    request: Dict[str, Any] = {"model": model, "max_tokens": limit, "messages": messages, "tools": tools}
    if thinks:
        request["thinking"] = {"type": "enabled", "budget_tokens": 1500}
    whole = claude_client.messages.create(**request)
    with claude_client.messages.stream(**request) as stream:
        streamed = stream.get_final_message()

    def shown(message: Any) -> List[Dict[str, Any]]:
        return [block.model_dump(exclude_none=True, exclude={"id", "parsed_output"}) for block in message.content]

    if "cut calls" not in case:
        assert shown(streamed) == shown(whole)
    assert (streamed.stop_reason, streamed.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)
    assert streamed.usage.input_tokens == whole.usage.input_tokens
    if thinks and model == GPT:
        return
    functions = [
        {"type": "function", "function": {"name": name, "parameters": WEATHER, "strict": True}} for name in ("get_weather", "clock")
    ]
    request = {"model": model, "max_completion_tokens": limit, "messages": messages, "tools": functions}
    if thinks:
        request["reasoning_effort"] = "high"
    answer = gpt_client.chat.completions.create(**request)
    chunks = list(gpt_client.chat.completions.create(**request, stream=True, stream_options={"include_usage": True}))
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    message = answer.choices[0].message
    assert "".join(delta.content or "" for delta in deltas) == (message.content or "")
    assert "".join(getattr(d, "reasoning_content", None) or "" for d in deltas) == (getattr(message, "reasoning_content", None) or "")
    arguments: Dict[int, str] = {}
    for piece in (piece for delta in deltas for piece in delta.tool_calls or []):
        arguments[piece.index] = arguments.get(piece.index, "") + (piece.function.arguments or "")
    if "cut calls" not in case:
        assert list(arguments.values()) == [call.function.arguments for call in message.tool_calls or []]
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == answer.choices[0].finish_reason
    assert chunks[-1].usage.model_dump(exclude_none=True) == answer.usage.model_dump(exclude_none=True)


def test_cached_tokens_have_each_client_s_meaning(gpt_client: Any, claude_client: Any) -> None:
    mark = {"type": "ephemeral"}
    system = [{"type": "text", "text": "Remember this well. " * 300, "cache_control": mark}]
    before = gpt_client.chat.completions.create(model=CLAUDE, messages=[{"role": "system", "content": system}, *HELLO]).usage
    after = gpt_client.chat.completions.create(model=CLAUDE, messages=[{"role": "system", "content": system}, *HELLO]).usage
    own = claude_client.messages.create(model=CLAUDE, max_tokens=9, messages=HELLO, system=system).usage
    assert before.prompt_tokens == after.prompt_tokens == own.input_tokens + own.cache_read_input_tokens
    assert before.prompt_tokens_details.cached_tokens == 0 < after.prompt_tokens_details.cached_tokens == own.cache_read_input_tokens
    messages = [{"role": "user", "content": "Remember this well. " * 300}]
    own = gpt_client.chat.completions.create(model=GPT, messages=messages).usage
    usage = claude_client.messages.create(model=GPT, max_tokens=9, messages=messages).usage
    assert usage.cache_read_input_tokens == own.prompt_tokens_details.cached_tokens > 0
    assert usage.input_tokens + usage.cache_read_input_tokens == own.prompt_tokens


def test_what_can_t_be_carried_is_declared(gpt_client: Any, claude_client: Any) -> None:
    raw = gpt_client.chat.completions.with_raw_response.create(
        model=CLAUDE, messages=HELLO, seed=1, logprobs=True, top_logprobs=2, frequency_penalty=0.5, temperature=1.5
    )
    assert lossy(raw) == ["frequency_penalty", "logprobs", "seed", "temperature", "top_logprobs"] and raw.parse().choices[0].message.content
    neutral: Dict[str, Any] = {"n": 1, "logprobs": False, "frequency_penalty": 0, "presence_penalty": 0, "store": False, "user": "u"}
    assert lossy(gpt_client.chat.completions.with_raw_response.create(model=CLAUDE, messages=HELLO, **neutral)) == []
    assert lossy(gpt_client.chat.completions.with_raw_response.create(model=GPT, messages=HELLO, seed=1)) == []
    raw = claude_client.messages.with_raw_response.create(model=GPT, max_tokens=50, messages=HELLO, extra_body={"top_k": 5})
    assert lossy(raw) == ["top_k"] and raw.parse().content[0].text
    with gpt_client.chat.completions.with_streaming_response.create(model=CLAUDE, messages=HELLO, seed=1, stream=True) as streamed:
        assert lossy(streamed) == ["seed"]


def test_limits_and_stops(gpt_client: Any, claude_client: Any) -> None:
    def chat(**more: Any) -> Any:
        return gpt_client.chat.completions.create(model=CLAUDE, messages=HELLO, **more).choices[0]

    assert chat(max_tokens=2).finish_reason == chat(max_completion_tokens=2).finish_reason == "length"
    stopped = chat(stop=[" This", "x", "\n\n"])
    assert (stopped.message.content, stopped.finish_reason) == ("Hello!", "stop")

    def message(**more: Any) -> Any:
        return claude_client.messages.create(**{"model": GPT, "max_tokens": 100, "messages": HELLO, **more})

    assert message(max_tokens=2).stop_reason == "max_tokens"
    stopped = message(stop_sequences=[" This"])
    assert stopped.content[0].text == "Hello!" and stopped.stop_reason in ("end_turn", "stop_sequence")


# Anthropic's package.


@pytest.mark.parametrize("model", [GPT, CLAUDE, "gpt-5-nano"])
def test_the_message_stream(claude_client: Any, model: str) -> None:
    with claude_client.messages.stream(model=model, max_tokens=1000, messages=HELLO, system="Be brief.") as stream:
        said = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert said == final.content[0].text and "mock provider" in said
    assert (final.stop_reason, final.role, final.type, final.model) == ("end_turn", "assistant", "message", model)
    assert final.usage.input_tokens > 0 and final.usage.output_tokens > 0
    events = list(claude_client.messages.create(model=model, max_tokens=1000, messages=HELLO, stream=True))
    kinds = [event.type for event in events if event.type != "ping"]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]


@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_blocks_have_their_types(claude_client: Any, model: str) -> None:
    asked = {"model": model, "max_tokens": 1000, "tools": [TOOL], "messages": [{"role": "user", "content": "Use the tool."}]}
    reply = claude_client.messages.create(**asked)
    with claude_client.messages.stream(**asked) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "input_json"]
        streamed = stream.get_final_message()
    for message in (reply, streamed):
        block = message.content[-1]
        assert isinstance(block, anthropic.types.ToolUseBlock) and block.input == {"city": "mock"} and message.stop_reason == "tool_use"
    assert snapshots[-1] == {"city": "mock"}
    text = claude_client.messages.create(model=model, max_tokens=1000, messages=HELLO).content[0]
    assert isinstance(text, anthropic.types.TextBlock)


def test_choices_of_tools(claude_client: Any, gpt_client: Any) -> None:
    other = {"name": "clock", "input_schema": {"type": "object"}}

    def called(**choice: Any) -> List[str]:
        reply = claude_client.messages.create(model=GPT, max_tokens=99, messages=HELLO, tools=[TOOL, other], tool_choice=choice)
        return [block.name for block in reply.content if block.type == "tool_use"]

    assert called(type="auto") == called(type="none") == []
    assert called(type="any") == ["get_weather"] and called(type="tool", name="clock") == ["clock"]
    assert called(type="any", disable_parallel_tool_use=True) == ["get_weather"]

    def chosen(choice: Any) -> List[str]:
        tools = [FUNCTION, {"type": "function", "function": {"name": "clock"}}]
        reply = gpt_client.chat.completions.create(model=CLAUDE, messages=HELLO, tools=tools, tool_choice=choice)
        return [call.function.name for call in reply.choices[0].message.tool_calls or []]

    assert chosen("auto") == chosen("none") == []
    assert chosen("required") == ["get_weather"]
    assert chosen({"type": "function", "function": {"name": "clock"}}) == ["clock"]


def test_structured_output(claude_client: Any) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}, "required": ["n"], "additionalProperties": False}
    config = {"format": {"type": "json_schema", "schema": schema}}
    for model in (GPT, NEW_CLAUDE):
        reply = claude_client.messages.create(model=model, max_tokens=100, messages=HELLO, output_config=config)
        assert json.loads(reply.content[0].text) == {"n": 3}


def test_a_compatible_server_s_thoughts(mock: MockProvider, tmp_path: Any) -> None:
    """``reasoning_content`` is a thinking block for Anthropic's client, and goes back as what it was."""
    config = tmp_path / "iron.toml"
    config.write_text(
        f'[upstreams.deepseek]\nprotocol = "openai"\nbase_url = "{mock.url}/v1"\nkey = "sk-deepseek"\nmodels = ["deepseek-*"]\n', "utf-8"
    )
    with direct(mock, config=config) as router:
        with anthropic.Anthropic(base_url=router.anthropic_base_url, api_key=router.api_key, max_retries=0) as client:
            asked = {"model": "deepseek-reasoner", "max_tokens": 1000, "tools": [TOOL]}
            messages: List[Any] = [{"role": "user", "content": "Use the tool."}]
            first = client.messages.create(messages=messages, **asked)
            with client.messages.stream(messages=messages, **asked) as stream:
                streamed = stream.get_final_message()
            for message in (first, streamed):
                assert [block.type for block in message.content if block.type != "text"] == ["thinking", "tool_use"]
                assert message.content[0].thinking.startswith("The mock needs no thought")
            result = {"type": "tool_result", "tool_use_id": streamed.content[-1].id, "content": "sunny"}
            messages += [{"role": "assistant", "content": streamed.content}, {"role": "user", "content": [result]}]
            assert "The tools said: sunny." in client.messages.create(messages=messages, **asked).content[-1].text


# Both.


def test_lists_of_models(gpt_client: Any, claude_client: Any) -> None:
    for client in (gpt_client, claude_client):
        models = {model.id: model for model in client.models.list()}
        assert {GPT, CLAUDE} <= set(models)
    assert models[GPT].type == "model" and models[GPT].display_name


def test_counting_tokens_for_gpt(claude_client: Any) -> None:
    def count(text: str, **more: Any) -> int:
        messages = [{"role": "user", "content": text}]
        return int(claude_client.messages.count_tokens(model=GPT, messages=messages, **more).input_tokens)

    short, long = count("Hello!"), count("Hello! " * 500)
    assert 0 < short < long and count("Hello!", tools=[TOOL], system="Be brief.") > short
    assert claude_client.messages.with_raw_response.count_tokens(model=GPT, messages=HELLO).headers["x-iron-estimated"]


ERRORS: Dict[str, Any] = {
    "400": ("BadRequestError", "invalid_request_error"),
    "401": ("AuthenticationError", "authentication_error"),
    "403": ("PermissionDeniedError", "permission_error"),
    "404": ("NotFoundError", "not_found_error"),
    "429": ("RateLimitError", "rate_limit_error"),
    "500": ("InternalServerError", "api_error"),
    "503": ("InternalServerError", "overloaded_error"),
    "529": ("InternalServerError", "overloaded_error"),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fault", "names"), ERRORS.items())
def test_errors_are_typed(gpt_client: Any, claude_client: Any, fault: str, names: Any, stream: bool) -> None:
    error, kind = names
    fields = {"x-mock": fault}
    wanted: Type[Exception] = getattr(openai, error)
    with pytest.raises(wanted) as raised:
        gpt_client.chat.completions.create(model=CLAUDE, messages=HELLO, extra_headers=fields, stream=stream)
    assert raised.value.status_code == int(fault) and raised.value.request_id  # type: ignore[attr-defined]
    assert set(raised.value.body) == {"message", "type", "param", "code"} and raised.value.body["message"]  # type: ignore[attr-defined]
    wanted = getattr(anthropic, error)
    with pytest.raises(wanted) as raised:
        claude_client.messages.create(model=GPT, max_tokens=10, messages=HELLO, extra_headers=fields, stream=stream)
    assert raised.value.status_code == int(fault) and raised.value.request_id  # type: ignore[attr-defined]
    assert raised.value.body["error"]["type"] == kind and raised.value.body["error"]["message"]  # type: ignore[attr-defined]
    if fault == "429":
        assert raised.value.response.headers["retry-after"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("fault", ["cut", "error-event"])
def test_a_broken_stream_is_an_error(gpt_client: Any, claude_client: Any, fault: str) -> None:
    fields = {"x-mock": fault}
    with pytest.raises(openai.APIError):
        list(gpt_client.chat.completions.create(model=CLAUDE, messages=HELLO, stream=True, extra_headers=fields))
    with pytest.raises((anthropic.APIError, anthropic.AnthropicError)):
        list(claude_client.messages.create(model=GPT, max_tokens=100, messages=HELLO, stream=True, extra_headers=fields))


def test_a_wrong_field_is_named_as_the_client_spells_it(gpt_client: Any, claude_client: Any) -> None:
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,?"}}]}]
    audio = [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]}]
    orphan = [*HELLO, {"role": "tool", "tool_call_id": "call_9", "content": "x"}]
    for more, name in (
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role"),
        ({"messages": picture}, "image_url"),
        ({"messages": audio}, "messages[0].content[0]"),
        ({"messages": orphan}, "tool_call_id"),
        ({"n": 2}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "clock"}}}, "tool_choice"),
    ):
        with pytest.raises(openai.BadRequestError) as raised:
            gpt_client.chat.completions.create(**{"model": CLAUDE, "messages": HELLO, **more})
        assert name in str(raised.value), (more, raised.value)
    for more, name in (
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"tools": [{"name": "f"}]}, "input_schema"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}]}, "source"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_9", "content": "x"}]}]}, "tool_use_id"),
    ):
        with pytest.raises(anthropic.BadRequestError) as raised:
            claude_client.messages.create(**{"model": GPT, "max_tokens": 10, "messages": HELLO, **more})
        assert name in str(raised.value), (more, raised.value)


def test_strict_translation_refuses(mock: MockProvider) -> None:
    with direct(mock, strict_translation=True) as router:
        with openai.OpenAI(base_url=router.base_url, api_key=router.api_key, max_retries=0) as client:
            with pytest.raises(openai.BadRequestError) as refused:
                client.chat.completions.create(model=CLAUDE, messages=HELLO, seed=1)
            assert refused.value.code == "lossy_translation" and "seed" in str(refused.value)
            assert client.chat.completions.create(model=CLAUDE, messages=HELLO, n=1).choices[0].message.content
            assert client.chat.completions.create(model=GPT, messages=HELLO, seed=1).choices[0].message.content
        with anthropic.Anthropic(base_url=router.anthropic_base_url, api_key=router.api_key, max_retries=0) as client:
            with pytest.raises(anthropic.BadRequestError) as refused:
                client.messages.create(model=GPT, max_tokens=10, messages=HELLO, extra_body={"top_k": 3})
            assert "top_k" in str(refused.value)


def test_asyncio() -> None:
    async def main(router: LlmRouter) -> None:
        async with openai.AsyncOpenAI(base_url=router.base_url, api_key=router.api_key) as client:
            replies = await asyncio.gather(*[client.chat.completions.create(model=CLAUDE, messages=HELLO) for _ in range(8)])
            assert all("mock provider" in reply.choices[0].message.content for reply in replies)
            stream = await client.chat.completions.create(model=CLAUDE, messages=HELLO, stream=True)
            chunks = [chunk async for chunk in stream]
            assert "mock provider" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        async with anthropic.AsyncAnthropic(base_url=router.anthropic_base_url, api_key=router.api_key) as client:
            calls = [client.messages.create(model=GPT, max_tokens=100, messages=HELLO) for _ in range(8)]
            assert all("mock provider" in reply.content[0].text for reply in await asyncio.gather(*calls))
            async with client.messages.stream(model=GPT, max_tokens=100, messages=HELLO) as stream:
                assert "mock provider" in "".join([text async for text in stream.text_stream])

    with LlmRouter(mock=True) as router:
        asyncio.run(main(router))


def test_a_translated_call_costs_what_it_costs(mock: MockProvider) -> None:
    """The ledger's money is the money of the provider's price, whichever client asks."""
    spent = []
    for ask in ("openai", "anthropic"):
        with direct(mock, budget=1.0) as router:
            if ask == "openai":
                with openai.OpenAI(base_url=router.base_url, api_key=router.api_key, max_retries=0) as client:
                    client.chat.completions.create(model=CLAUDE, messages=HELLO, max_tokens=100)
            else:
                with anthropic.Anthropic(base_url=router.anthropic_base_url, api_key=router.api_key, max_retries=0) as client:
                    client.messages.create(model=CLAUDE, messages=HELLO, max_tokens=100)
            spent.append(router.total_spent())
    assert spent[0] == spent[1] > 0


def test_one_client_both_providers_as_it_stands(mock: MockProvider) -> None:
    keys = {"OPENAI_API_KEY": OPENAI_KEY, "ANTHROPIC_API_KEY": ANTHROPIC_KEY}
    said = program(CONTRACT, {**keys, "IRON_OPENAI_BASE_URL": mock.url, "IRON_ANTHROPIC_BASE_URL": mock.url})
    assert "".join(said).count("mock provider") == 2


def test_the_example_is_there() -> None:
    assert (EXAMPLES / "one_client.py").is_file()


# The helper that runs tools, and the threads that it sends by default.


def runner(client: Any, model: str, **more: Any) -> str:
    """What a loop run by the package's own helper ends with."""
    if not hasattr(client.beta.messages, "tool_runner"):
        pytest.skip("this version of the package has no tool runner")

    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """The weather in a city."""
        return "sunny in " + city

    asked = [{"role": "user", "content": "Use the tool."}]
    last = client.beta.messages.tool_runner(model=model, max_tokens=500, tools=[get_weather], messages=asked, **more).until_done()
    return str(last.content[-1].text)


@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_the_tool_runner(claude_client: Any, model: str) -> None:
    assert "The tools said: sunny in mock." in runner(claude_client, model)


def test_the_tool_runner_of_a_strict_router_and_of_one_with_a_budget(mock: MockProvider) -> None:
    """Nothing is lost by threads that are not kept; and a budget knows no bound of what a thread holds, so that it gets the whole."""
    for settings in ({"strict_translation": True}, {"budget": 5.0}):
        with direct(mock, **settings) as router:
            with anthropic.Anthropic(base_url=router.anthropic_base_url, api_key=router.api_key, max_retries=0) as client:
                for model in (GPT, CLAUDE):
                    assert "The tools said: sunny in mock." in runner(client, model), (settings, model)


@pytest.mark.parametrize("model", [GPT, NEW_CLAUDE])
def test_the_package_s_own_threads(claude_client: Any, model: str) -> None:
    if not hasattr(claude_client.beta.messages, "thread"):
        pytest.skip("this version of the package has no threads")
    thread = claude_client.beta.messages.thread(model=model, max_tokens=200, system="Be brief.")
    for _ in range(2):
        assert "mock provider" in thread.send(*HELLO).content[0].text
    with thread.stream(*HELLO) as stream:
        assert "mock provider" in "".join(stream.text_stream)
    assert len(thread.messages) == 6


@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_a_thread_that_is_not_kept_is_a_404_of_the_provider_s_own(claude_client: Any, model: str) -> None:
    thread = {"type": "continue", "previous_message_id": "msg_1"}
    with pytest.raises(anthropic.NotFoundError) as lost:
        claude_client.messages.create(model=model, max_tokens=50, messages=HELLO, extra_body={"thread": thread})
    assert lost.value.body["error"]["details"]["error_code"] == "thread_not_found"
