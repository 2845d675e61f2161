"""README's Python and curl examples, run as they stand but for the addresses."""

import pathlib
import re
import subprocess
import sys
from typing import Iterator, List

import pytest

from iron_runtime import LlmRouter

README = (pathlib.Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
TOKEN = "local-secret"


def blocks(language: str) -> List[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A router on a mock with README's client token."""
    with LlmRouter(mock=True, client_token=TOKEN) as router:
        yield f"127.0.0.1:{router.port}"


@pytest.mark.parametrize("example", blocks("python"))
def test_python(example: str, address: str) -> None:
    example = example.replace("127.0.0.1:8080", address)
    example = example.replace('LlmRouter(provider_key="env:OPENAI_API_KEY")', "LlmRouter(mock=True)")
    done = subprocess.run([sys.executable, "-W", "error::SyntaxWarning", "-c", example], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    wanted = "402 Error code: 402" if "set_budget(0)" in example else "mock provider"
    assert wanted in done.stdout, done.stdout


@pytest.mark.parametrize("example", [block for block in blocks("sh") if block.startswith("curl")])
def test_curl(example: str, address: str) -> None:
    commands = re.split(r"\n(?=curl )", example.strip())
    for command in commands:
        done = subprocess.run(["bash", "-c", command.replace("127.0.0.1:8080", address)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        wanted = "rate_limit" if "429" in command else "mock provider"
        assert wanted in done.stdout, done.stdout


def test_there_are_examples() -> None:
    assert len(blocks("python")) >= 3 and sum("curl" in block for block in blocks("sh")) >= 2
