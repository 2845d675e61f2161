"""Programs that users have today, unchanged, and the examples that come with the package."""

import subprocess
import sys
from pathlib import Path
from typing import Dict, List

import pytest
from conftest import ANTHROPIC_KEY, OPENAI_KEY, Control, MockProvider, clean_environment

EXAMPLES = Path(__file__).parent.parent / "examples"

OPENAI_SERVER_MODE = """
import os
from iron_runtime import LlmRouter
from openai import OpenAI

router = LlmRouter(api_key=os.environ["IC_TOKEN"], server_url=os.environ["IC_SERVER"])
assert router.is_running and router.provider in ("openai", "anthropic")
assert router.base_url == f"http://127.0.0.1:{router.port}/v1" and router.api_key == os.environ["IC_TOKEN"]
client = OpenAI(base_url=router.base_url, api_key=router.api_key)
r = client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello!"}])
print(r.choices[0].message.content)
router.stop(); router.stop()
assert not router.is_running
"""

ANTHROPIC_ADDRESSES = """
import os
from iron_runtime import LlmRouter
from anthropic import Anthropic
with LlmRouter(os.environ["IC_TOKEN"], os.environ["IC_SERVER"], 60) as router:
    for url in (router.base_url.replace("/v1", ""), router.anthropic_base_url, router.base_url):
        m = Anthropic(base_url=url, api_key=router.api_key).messages.create(
            model="claude-sonnet-4-20250514", max_tokens=100, messages=[{"role": "user", "content": "Hello!"}])
        print(m.content[0].text)
"""

MONEY = """
import os
from iron_runtime import LlmRouter
from openai import OpenAI
import openai
with LlmRouter(provider_key=os.environ["OPENAI_API_KEY"], budget=10.0) as router:
    assert router.budget == 10.0 and router.budget_status == (0.0, 10.0)
    client = OpenAI(base_url=router.base_url, api_key=router.api_key)
    client.chat.completions.create(model="gpt-5-nano", max_completion_tokens=50, messages=[{"role": "user", "content": "Hi"}])
    spent, limit = router.budget_status
    assert 0 < spent < limit and router.total_spent() == spent
    router.set_budget(0)
    try:
        client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hi"}])
        raise SystemExit("must be refused")
    except openai.APIStatusError as e:
        assert e.status_code == 402 and "Iron Cage budget limit exceeded" in str(e)
with LlmRouter(provider_key=os.environ["OPENAI_API_KEY"]) as router:      # no budget = no limit
    assert router.budget is None and router.budget_status is None
"""


def program(text: str, env: Dict[str, str]) -> List[str]:
    """Runs a program as it stands; its lines."""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=120, env=clean_environment(**env))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(("package", "text", "lines"), [("openai", OPENAI_SERVER_MODE, 1), ("anthropic", ANTHROPIC_ADDRESSES, 3)])
def test_server_mode(package: str, text: str, lines: int, control: Control) -> None:
    pytest.importorskip(package)
    said = program(text, control.env())
    assert len(said) == lines and all(said)


@pytest.mark.parametrize(("package", "text", "lines"), [("openai", OPENAI_SERVER_MODE, 1), ("anthropic", ANTHROPIC_ADDRESSES, 3)])
def test_the_same_in_direct_mode(package: str, text: str, lines: int, mock: MockProvider) -> None:
    pytest.importorskip(package)
    urls = f'base_urls={{"openai": "{mock.url}/v1", "anthropic": "{mock.url}"}}'
    keys = f'provider_keys={{"openai": "{OPENAI_KEY}", "anthropic": "{ANTHROPIC_KEY}"}}'
    for server_mode in (
        'api_key=os.environ["IC_TOKEN"], server_url=os.environ["IC_SERVER"]',
        'os.environ["IC_TOKEN"], os.environ["IC_SERVER"], 60',
    ):
        text = text.replace(server_mode, f'api_key=os.environ["IC_TOKEN"], {keys}, {urls}')
    said = program(text, {"IC_TOKEN": "any-token"})
    assert len(said) == lines and all(said)


def test_a_budget_in_direct_mode(mock: MockProvider) -> None:
    pytest.importorskip("openai")
    assert program(MONEY, {"OPENAI_API_KEY": OPENAI_KEY, "IRON_OPENAI_BASE_URL": mock.url}) == []


def test_the_import() -> None:
    assert program("from iron_runtime import LlmRouter; print('OK')", {}) == ["OK"]


@pytest.mark.parametrize(
    ("example", "package"),
    [
        ("quickstart.py --mock", "openai"),
        ("anthropic_client.py --mock", "anthropic"),
        ("streaming.py --mock", "anthropic"),
        ("one_client.py --mock", "openai"),
        ("five_cents.py", "anthropic"),
        ("watch.py --mock", "openai"),
        ("test_manual.py openai --mock", "openai"),
        ("test_manual.py openai", "openai"),
        ("test_manual.py anthropic --mock", "anthropic"),
        ("test_manual.py anthropic", "anthropic"),
        ("test_manual.py gateway --mock", "anthropic"),
        ("other_clients.py urllib --mock", "urllib"),
        ("other_clients.py httpx --mock", "httpx"),
        ("other_clients.py langchain --mock", "langchain_openai"),
        ("other_clients.py llm --mock", "llm"),
    ],
)
def test_examples(example: str, package: str, control: Control, tmp_path: Path) -> None:
    pytest.importorskip(package)
    name, *options = example.split()
    # What has no --mock finds its way by the environment.
    env = clean_environment(**({} if "--mock" in options else control.env()), LLM_USER_PATH=str(tmp_path))
    command = [sys.executable, str(EXAMPLES / name), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 0, done.stderr
    assert "mock provider" in done.stdout or "--mock" not in options
