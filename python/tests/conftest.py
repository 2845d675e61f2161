"""What the tests share: a mock provider, routers in front of it, and an environment without anybody's keys.

With ``IC_TOKEN`` and ``IC_SERVER`` set, server mode is tested against that control server; otherwise against the mock, which
is one too.
"""

import json
import os
import subprocess
import sys
import urllib.request
from typing import Dict, Iterator, NamedTuple

import pytest

from iron_runtime import LlmRouter

TOKEN, SERVER = os.environ.get("IC_TOKEN"), os.environ.get("IC_SERVER")
FOREIGN = ("OPENAI_", "ANTHROPIC_", "IC_", "IRON_")
OPENAI_KEY, ANTHROPIC_KEY = "sk-real-openai", "sk-ant-real-anthropic"


class Control(NamedTuple):
    """A control server and a token it knows."""

    token: str
    url: str

    def env(self) -> Dict[str, str]:
        """The variables that programs read."""
        return {"IC_TOKEN": self.token, "IC_SERVER": self.url}


class MockProvider(NamedTuple):
    """A running ``iron-runtime mock``."""

    url: str
    token: str

    def stats(self) -> Dict[str, object]:
        """What it has seen."""
        with urllib.request.urlopen(self.url + "/__stats", timeout=30) as reply:
            stats: Dict[str, object] = json.load(reply)
        return stats


def clean_environment(**more: str) -> Dict[str, str]:
    """This environment without keys and settings that would change what a program does."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return {**kept, **more}


@pytest.fixture(autouse=True)
def nobody_s_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see no keys but their own."""
    for name in list(os.environ):
        if name.startswith(FOREIGN):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def mock() -> Iterator[MockProvider]:
    """The mock provider in a process of its own."""
    command = [sys.executable, "-m", "iron_runtime", "mock", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean_environment(IRON_LOG="warn"))
    try:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        url = next(line.split()[-1] for line in lines if line.startswith("listening on "))
        exported = next(line for line in lines if line.startswith("export "))
        yield MockProvider(url, dict(word.split("=", 1) for word in exported.split()[1:])["IC_TOKEN"])
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0


@pytest.fixture(scope="session")
def control(mock: MockProvider) -> Control:
    """The control server to test with."""
    return Control(TOKEN, SERVER) if TOKEN and SERVER else Control(mock.token, mock.url)


@pytest.fixture(scope="session", params=["direct", "server"])
def router(request: pytest.FixtureRequest, mock: MockProvider, control: Control) -> Iterator[LlmRouter]:
    """A router in each of the two modes."""
    with LlmRouter(*control) if request.param == "server" else direct(mock) as made:
        yield made


@pytest.fixture(scope="session")
def faulty(mock: MockProvider) -> Iterator[LlmRouter]:
    """A router whose provider is certainly the mock: it does what the header ``x-mock`` asks for."""
    with direct(mock) as made:
        yield made


def direct(mock: MockProvider, **settings: object) -> LlmRouter:
    """A router in direct mode with both providers on the mock."""
    keys = {"openai": OPENAI_KEY, "anthropic": ANTHROPIC_KEY}
    return LlmRouter(provider_keys=keys, base_urls={"openai": mock.url + "/v1", "anthropic": mock.url}, **settings)  # type: ignore[arg-type]
