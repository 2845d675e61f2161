"""A pytest plugin, found by pytest itself: tests of programs that call LLMs, without a key and without a network.

Example:
    def test_my_agent(iron_router):
        client = OpenAI(base_url=iron_router.base_url, api_key=iron_router.api_key)
        assert my_agent(client).answer
"""

from typing import Iterator

import pytest

from iron_runtime import LlmRouter


@pytest.fixture
def iron_router() -> Iterator[LlmRouter]:
    """A router of the test's own in front of a mock provider; stopped when the test ends.

    For programs that make their own clients: ``monkeypatch.setenv(name, value)`` for each item of ``iron_router.env()``.
    """
    with LlmRouter(mock=True) as router:
        yield router
