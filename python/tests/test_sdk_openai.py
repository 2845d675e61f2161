"""The real ``openai`` package through a router, in both modes."""

import asyncio
import json
import os
from typing import Dict, List, Type

import pytest

from iron_runtime import LlmRouter

openai = pytest.importorskip("openai")
pydantic = pytest.importorskip("pydantic")

MODEL = "gpt-4o-mini"
HELLO = [{"role": "user", "content": "Hello!"}]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}


@pytest.fixture
def client(router: LlmRouter):
    with openai.OpenAI(base_url=router.base_url, api_key=router.api_key, max_retries=0) as client:
        yield client


@pytest.fixture
def faulty_client(faulty: LlmRouter):
    with openai.OpenAI(base_url=faulty.base_url, api_key=faulty.api_key, max_retries=0) as client:
        yield client


def test_chat(client) -> None:
    reply = client.chat.completions.create(model=MODEL, messages=HELLO)
    assert reply.choices[0].message.content
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert reply._request_id


def test_stream(client) -> None:
    chunks = list(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].usage is not None and not chunks[-1].choices
    assert all(chunk.usage is None for chunk in client.chat.completions.create(model=MODEL, messages=HELLO, stream=True))


def test_stream_helper(client) -> None:
    with client.chat.completions.stream(model=MODEL, messages=HELLO) as stream:
        kinds = [event.type for event in stream]
        assert "content.delta" in kinds and kinds[-1] == "content.done"
        assert stream.get_final_completion().choices[0].message.content


def test_tools(client) -> None:
    reply = client.chat.completions.create(model=MODEL, messages=HELLO, tools=[TOOL], tool_choice="required")
    call = reply.choices[0].message.tool_calls[0]
    assert call.function.name == "get_weather" and "city" in json.loads(call.function.arguments)
    answer = [*HELLO, reply.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    assert client.chat.completions.create(model=MODEL, messages=answer, tools=[TOOL]).choices[0].message.content


def test_streamed_tools(client) -> None:
    chunks = client.chat.completions.create(model=MODEL, messages=HELLO, tools=[TOOL], tool_choice="required", stream=True)
    pieces: List[str] = [
        call.function.arguments or "" for chunk in chunks if chunk.choices for call in chunk.choices[0].delta.tool_calls or []
    ]
    assert "city" in json.loads("".join(pieces))


def test_parse(client) -> None:
    class City(pydantic.BaseModel):
        name: str
        people: int

    assert isinstance(client.chat.completions.parse(model=MODEL, messages=HELLO, response_format=City).choices[0].message.parsed, City)
    assert isinstance(client.responses.parse(model=MODEL, input="Hello!", text_format=City).output_parsed, City)


def test_responses(client) -> None:
    assert client.responses.create(model=MODEL, input="Hello!").output_text
    events = list(client.responses.create(model=MODEL, input="Hello!", stream=True))
    assert events[0].type == "response.created" and events[-1].type == "response.completed"


def test_embeddings_and_models(client) -> None:
    reply = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
    assert len(reply.data) == 2 and len(reply.data[0].embedding) > 4
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(MODEL).id == MODEL


def test_files(client) -> None:
    content = os.urandom(300_000)
    stored = client.files.create(file=("blob.bin", content), purpose="assistants")
    assert client.files.content(stored.id).read() == content
    with client.files.with_streaming_response.content(stored.id) as reply:
        assert b"".join(reply.iter_bytes(4096)) == content
    assert client.files.delete(stored.id).deleted


def test_async(router: LlmRouter) -> None:
    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=router.base_url, api_key=router.api_key) as client:
            replies = await asyncio.gather(*[client.chat.completions.create(model=MODEL, messages=HELLO) for _ in range(8)])
            assert all(reply.choices[0].message.content for reply in replies)
            stream = await client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
            assert [chunk async for chunk in stream]
            assert (await client.responses.create(model=MODEL, input="Hello!")).output_text

    asyncio.run(main())


def test_wrong_token(router: LlmRouter) -> None:
    with openai.OpenAI(base_url=router.base_url, api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            client.chat.completions.create(model=MODEL, messages=HELLO)
    assert refused.value.code == "invalid_api_key"


ERRORS: Dict[str, Type[Exception]] = {
    "400": openai.BadRequestError,
    "401": openai.AuthenticationError,
    "403": openai.PermissionDeniedError,
    "404": openai.NotFoundError,
    "409": openai.ConflictError,
    "422": openai.UnprocessableEntityError,
    "429": openai.RateLimitError,
    "500": openai.InternalServerError,
    "503": openai.InternalServerError,
}


@pytest.mark.parametrize(("fault", "error"), ERRORS.items())
def test_the_provider_s_errors_keep_their_type(faulty_client, fault: str, error: Type[Exception]) -> None:
    with pytest.raises(error) as raised:
        faulty_client.chat.completions.create(model=MODEL, messages=HELLO, extra_headers={"x-mock": fault})
    assert raised.value.status_code == int(fault) and raised.value.request_id
    assert raised.value.body
    if fault == "429":
        assert raised.value.code and raised.value.response.headers["retry-after"]


def test_the_sdk_retries_as_it_would_without_us(mock, faulty: LlmRouter) -> None:
    before = mock.stats()["requests"]
    with openai.OpenAI(base_url=faulty.base_url, api_key=faulty.api_key, max_retries=2) as client:
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(model=MODEL, messages=HELLO, extra_headers={"x-mock": "503,retry-after=0"})
    assert mock.stats()["requests"] == before + 3


def test_a_cut_stream_is_an_error(faulty_client) -> None:
    stream = faulty_client.chat.completions.create(model=MODEL, messages=HELLO, stream=True, extra_headers={"x-mock": "cut"})
    with pytest.raises(openai.APIError):
        list(stream)


def test_the_real_key_goes_out_and_ours_does_not(faulty_client, faulty: LlmRouter) -> None:
    raw = faulty_client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO, extra_headers={"x-mock": "echo"})
    echoed = raw.http_response.text
    assert "sk-real-openai" in echoed and faulty.api_key not in echoed


def test_what_is_not_translated_is_refused_with_a_way_out(faulty_client) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        faulty_client.responses.create(model="claude-sonnet-4-20250514", input="Hello!")
    assert refused.value.code == "translation_unavailable"
