"""The real ``anthropic`` package through a router, in both modes."""

import asyncio
from typing import Dict, Type

import pytest

from iron_runtime import LlmRouter

anthropic = pytest.importorskip("anthropic")

MODEL = "claude-sonnet-4-20250514"
HELLO = [{"role": "user", "content": "Hello!"}]
TOOL = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture
def client(router: LlmRouter):
    with anthropic.Anthropic(base_url=router.anthropic_base_url, api_key=router.api_key, max_retries=0) as client:
        yield client


@pytest.fixture
def faulty_client(faulty: LlmRouter):
    with anthropic.Anthropic(base_url=faulty.anthropic_base_url, api_key=faulty.api_key, max_retries=0) as client:
        yield client


def test_messages(client) -> None:
    reply = client.messages.create(model=MODEL, max_tokens=100, messages=HELLO)
    assert reply.content[0].text and reply.usage.output_tokens > 0
    assert reply._request_id


def test_stream(client) -> None:
    with client.messages.stream(model=MODEL, max_tokens=100, messages=HELLO) as stream:
        assert "".join(stream.text_stream)
        assert stream.get_final_message().stop_reason == "end_turn"
    kinds = [event.type for event in client.messages.create(model=MODEL, max_tokens=100, messages=HELLO, stream=True)]
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop"


@pytest.mark.parametrize("url", ["without /v1", "with /v1", "stripped"])
def test_addresses(router: LlmRouter, url: str) -> None:
    urls = {
        "without /v1": router.anthropic_base_url,
        "with /v1": router.base_url,
        "stripped": router.base_url.replace("/v1", ""),
    }
    with anthropic.Anthropic(base_url=urls[url], api_key=router.api_key, max_retries=0) as client:
        assert client.messages.create(model=MODEL, max_tokens=100, messages=HELLO).content[0].text
        assert client.messages.count_tokens(model=MODEL, messages=HELLO).input_tokens > 0


def test_tools(client) -> None:
    reply = client.messages.create(model=MODEL, max_tokens=100, messages=HELLO, tools=[TOOL], tool_choice={"type": "any"})
    call = reply.content[-1]
    assert reply.stop_reason == "tool_use" and "city" in call.input
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]}
    turns = [*HELLO, {"role": "assistant", "content": reply.content}, result]
    assert client.messages.create(model=MODEL, max_tokens=100, messages=turns, tools=[TOOL]).content[0].text


def test_streamed_tools(client) -> None:
    with client.messages.stream(model=MODEL, max_tokens=100, messages=HELLO, tools=[TOOL], tool_choice={"type": "any"}) as stream:
        assert "city" in stream.get_final_message().content[-1].input


def test_count_tokens_and_models(client) -> None:
    assert client.messages.count_tokens(model=MODEL, messages=HELLO).input_tokens > 0
    assert any(model.id.startswith("claude") for model in client.models.list())


def test_async(router: LlmRouter) -> None:
    async def main() -> None:
        async with anthropic.AsyncAnthropic(base_url=router.anthropic_base_url, api_key=router.api_key) as client:
            calls = [client.messages.create(model=MODEL, max_tokens=100, messages=HELLO) for _ in range(8)]
            assert all(reply.content[0].text for reply in await asyncio.gather(*calls))
            async with client.messages.stream(model=MODEL, max_tokens=100, messages=HELLO) as stream:
                assert [text async for text in stream.text_stream]

    asyncio.run(main())


def test_wrong_token(router: LlmRouter) -> None:
    with anthropic.Anthropic(base_url=router.anthropic_base_url, api_key="wrong", max_retries=0) as client:
        with pytest.raises(anthropic.AuthenticationError):
            client.messages.create(model=MODEL, max_tokens=10, messages=HELLO)


ERRORS: Dict[str, Type[Exception]] = {
    "400": anthropic.BadRequestError,
    "401": anthropic.AuthenticationError,
    "403": anthropic.PermissionDeniedError,
    "404": anthropic.NotFoundError,
    "429": anthropic.RateLimitError,
    "500": anthropic.InternalServerError,
    "529": anthropic.InternalServerError,
}


@pytest.mark.parametrize(("fault", "error"), ERRORS.items())
def test_the_provider_s_errors_keep_their_type(faulty_client, fault: str, error: Type[Exception]) -> None:
    with pytest.raises(error) as raised:
        faulty_client.messages.create(model=MODEL, max_tokens=10, messages=HELLO, extra_headers={"x-mock": fault})
    assert raised.value.status_code == int(fault) and raised.value.request_id
    assert raised.value.body["error"]["type"]


def test_a_cut_stream_is_an_error(faulty_client) -> None:
    stream = faulty_client.messages.create(model=MODEL, max_tokens=100, messages=HELLO, stream=True, extra_headers={"x-mock": "cut"})
    with pytest.raises((anthropic.APIError, anthropic.AnthropicError)):
        list(stream)


def test_the_real_key_goes_out_and_ours_does_not(faulty_client, faulty: LlmRouter) -> None:
    raw = faulty_client.messages.with_raw_response.create(model=MODEL, max_tokens=10, messages=HELLO, extra_headers={"x-mock": "echo"})
    echoed = raw.http_response.text
    assert "sk-ant-real-anthropic" in echoed and faulty.api_key not in echoed
