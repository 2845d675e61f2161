"""The real `openai` and `anthropic` packages through `iron-runtime serve`, against `iron-runtime mock`."""

import asyncio
import json
import os

import anthropic
import openai
import pytest
from conftest import Endpoint
from pydantic import BaseModel

GPT = "gpt-4o-mini"
CLAUDE = "claude-sonnet-4-20250514"
HELLO = [{"role": "user", "content": "Hello!"}]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.fixture()
def gpt(router: Endpoint) -> openai.OpenAI:
    return openai.OpenAI(base_url=router.url + "/v1", api_key=router.token, max_retries=0)


@pytest.fixture()
def claude(router: Endpoint) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=router.url, api_key=router.token, max_retries=0)


def test_openai_chat(gpt: openai.OpenAI) -> None:
    reply = gpt.chat.completions.create(model=GPT, messages=HELLO)
    assert reply.choices[0].message.content
    assert reply.usage is not None and reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert reply._request_id


def test_openai_stream(gpt: openai.OpenAI) -> None:
    chunks = list(gpt.chat.completions.create(model=GPT, messages=HELLO, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].usage is not None and not chunks[-1].choices
    assert all(chunk.usage is None for chunk in gpt.chat.completions.create(model=GPT, messages=HELLO, stream=True))


def test_openai_tools(gpt: openai.OpenAI) -> None:
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}]
    reply = gpt.chat.completions.create(model=GPT, messages=HELLO, tools=tools, tool_choice="required")
    call = reply.choices[0].message.tool_calls[0]
    assert call.function.name == "get_weather" and "city" in json.loads(call.function.arguments)
    answer = [*HELLO, reply.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    assert gpt.chat.completions.create(model=GPT, messages=answer, tools=tools).choices[0].message.content


def test_openai_parse(gpt: openai.OpenAI) -> None:
    class City(BaseModel):
        name: str
        people: int

    parsed = gpt.chat.completions.parse(model=GPT, messages=HELLO, response_format=City).choices[0].message.parsed
    assert isinstance(parsed, City)


def test_openai_responses(gpt: openai.OpenAI) -> None:
    assert gpt.responses.create(model=GPT, input="Hello!").output_text
    events = list(gpt.responses.create(model=GPT, input="Hello!", stream=True))
    assert events[0].type == "response.created" and events[-1].type == "response.completed"


def test_openai_the_rest(gpt: openai.OpenAI) -> None:
    embedding = gpt.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
    assert len(embedding.data) == 2 and len(embedding.data[0].embedding) > 4
    assert GPT in [model.id for model in gpt.models.list()]
    content = os.urandom(70_000)
    stored = gpt.files.create(file=("blob.bin", content), purpose="assistants")
    assert gpt.files.content(stored.id).read() == content
    assert gpt.files.delete(stored.id).deleted


def test_openai_async(router: Endpoint) -> None:
    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=router.url + "/v1", api_key=router.token) as client:
            replies = await asyncio.gather(*[client.chat.completions.create(model=GPT, messages=HELLO) for _ in range(8)])
            assert all(reply.choices[0].message.content for reply in replies)
            stream = await client.chat.completions.create(model=GPT, messages=HELLO, stream=True)
            assert [chunk async for chunk in stream]

    asyncio.run(main())


def test_anthropic_messages(claude: anthropic.Anthropic) -> None:
    reply = claude.messages.create(model=CLAUDE, max_tokens=100, messages=HELLO)
    assert reply.content[0].text and reply.usage.output_tokens > 0
    with claude.messages.stream(model=CLAUDE, max_tokens=100, messages=HELLO) as stream:
        assert "".join(stream.text_stream)
        assert stream.get_final_message().stop_reason == "end_turn"


def test_anthropic_addresses(router: Endpoint) -> None:
    for url in (router.url, router.url + "/v1", (router.url + "/v1").replace("/v1", "")):
        client = anthropic.Anthropic(base_url=url, api_key=router.token)
        assert client.messages.create(model=CLAUDE, max_tokens=100, messages=HELLO).content[0].text


def test_anthropic_tools(claude: anthropic.Anthropic) -> None:
    tools = [{"name": "get_weather", "input_schema": WEATHER}]
    reply = claude.messages.create(model=CLAUDE, max_tokens=100, messages=HELLO, tools=tools, tool_choice={"type": "any"})
    assert reply.stop_reason == "tool_use" and "city" in reply.content[-1].input


def test_anthropic_the_rest(claude: anthropic.Anthropic) -> None:
    assert claude.messages.count_tokens(model=CLAUDE, messages=HELLO).input_tokens > 0
    assert any(model.id.startswith("claude") for model in claude.models.list())


def test_anthropic_async(router: Endpoint) -> None:
    async def main() -> None:
        async with anthropic.AsyncAnthropic(base_url=router.url, api_key=router.token) as client:
            async with client.messages.stream(model=CLAUDE, max_tokens=100, messages=HELLO) as stream:
                assert [text async for text in stream.text_stream]

    asyncio.run(main())


def test_typed_errors(router: Endpoint) -> None:
    gpt = openai.OpenAI(base_url=router.url + "/v1", api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError) as refused:
        gpt.chat.completions.create(model=GPT, messages=HELLO)
    assert refused.value.code == "invalid_api_key"
    claude = anthropic.Anthropic(base_url=router.url, api_key="wrong", max_retries=0)
    with pytest.raises(anthropic.AuthenticationError):
        claude.messages.create(model=CLAUDE, max_tokens=10, messages=HELLO)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("401", openai.AuthenticationError),
        ("404", openai.NotFoundError),
        ("429", openai.RateLimitError),
        ("500", openai.InternalServerError),
        ("503", openai.InternalServerError),
    ],
)
def test_provider_errors_pass_through(gpt: openai.OpenAI, fault: str, error: type) -> None:
    with pytest.raises(error) as raised:
        gpt.chat.completions.create(model=GPT, messages=HELLO, extra_headers={"x-mock": fault})
    assert raised.value.status_code == int(fault) and raised.value.request_id
    if fault == "429":
        assert raised.value.response.headers["retry-after"]


def test_a_cut_stream_is_an_error(gpt: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    with pytest.raises((openai.APIError, Exception)) as raised:
        list(gpt.chat.completions.create(model=GPT, messages=HELLO, stream=True, extra_headers={"x-mock": "cut"}))
    assert not isinstance(raised.value, AssertionError)
    with pytest.raises(Exception):
        list(claude.messages.create(model=CLAUDE, max_tokens=9, messages=HELLO, stream=True, extra_headers={"x-mock": "cut"}))


def test_the_real_key_goes_out_and_ours_does_not(gpt: openai.OpenAI, router: Endpoint) -> None:
    echo = gpt.with_raw_response.chat.completions.create if hasattr(gpt, "with_raw_response") else None
    assert echo is not None
    raw = gpt.chat.completions.with_raw_response.create(model=GPT, messages=HELLO, extra_headers={"x-mock": "echo"})
    text = raw.text if isinstance(raw.text, str) else raw.text()
    assert "sk-real-openai" in text and router.token not in text


def test_mismatch_says_what_to_do(gpt: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        gpt.chat.completions.create(model=CLAUDE, messages=HELLO)
    assert refused.value.code == "translation_unavailable"
