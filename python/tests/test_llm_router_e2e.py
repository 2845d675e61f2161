"""The class ``LlmRouter``: how it is made, what it tells, what it refuses."""

import ast
import errno
import http.client
import inspect
import json
import logging
import os
import pickle
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Dict

import pytest
from conftest import ANTHROPIC_KEY, OPENAI_KEY, Control, MockProvider, clean_environment, direct

import iron_runtime
from iron_runtime import IronError, LlmRouter, errors

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello!"}]}


def post(router: LlmRouter, body: Dict[str, Any], token: str = "", headers: Dict[str, str] = {}) -> Dict[str, Any]:  # noqa: B006
    fields = {"authorization": "Bearer " + (token or router.api_key), "content-type": "application/json", **headers}
    request = urllib.request.Request(router.base_url + "/chat/completions", json.dumps(body).encode(), fields)
    with urllib.request.urlopen(request, timeout=30) as reply:
        answer: Dict[str, Any] = json.load(reply)
    return answer


def key_sent(router: LlmRouter) -> str:
    """The credential that reaches the provider."""
    echoed = post(router, CHAT, headers={"x-mock": "echo"})
    return dict(map(tuple, echoed["headers"]))["authorization"].split()[-1]


def test_package() -> None:
    assert set(iron_runtime.__all__) == {"IronError", "LlmRouter", "__version__", "errors"}
    assert iron_runtime.__version__.count(".") >= 2
    assert LlmRouter.__module__ == "iron_runtime"
    assert (Path(iron_runtime.__file__).parent / "py.typed").exists()


def test_import_is_light() -> None:
    heavy = "{'logging', 'threading', 'socket', 'ssl', 'asyncio', 'subprocess', 'typing'}"
    code = f"import sys; before = set(sys.modules); import iron_runtime; print(sorted({heavy} & (set(sys.modules) - before)))"
    assert subprocess.run([sys.executable, "-S", "-c", code], text=True, capture_output=True, env=on_path()).stdout.strip() == "[]"


def on_path() -> Dict[str, str]:
    return clean_environment(PYTHONPATH=str(Path(iron_runtime.__file__).parents[1]))


def test_properties(mock: MockProvider) -> None:
    with direct(mock) as router:
        assert router.base_url == router.openai_base_url == f"http://127.0.0.1:{router.port}/v1"
        assert router.anthropic_base_url == f"http://127.0.0.1:{router.port}"
        assert router.provider == "openai" and router.is_running
        assert router.env() == {
            "OPENAI_BASE_URL": router.base_url,
            "OPENAI_API_KEY": router.api_key,
            "ANTHROPIC_BASE_URL": router.anthropic_base_url,
            "ANTHROPIC_API_KEY": router.api_key,
        }
        assert post(router, CHAT)["choices"]


def test_server_mode_by_position_by_keyword_and_from_the_environment(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in control.env().items():
        monkeypatch.setenv(name, value)
    for router in (
        LlmRouter(control.token, control.url, 60),
        LlmRouter(api_key=control.token, server_url=control.url),
        LlmRouter(control.token, server_url=control.url, cache_ttl_seconds=0.5),
        LlmRouter("env:IC_TOKEN", control.url),
        LlmRouter(),
    ):
        with router:
            assert router.provider in ("openai", "anthropic") and router.api_key == control.token
            assert post(router, CHAT)["choices"]


def test_direct_mode_detects_the_provider(mock: MockProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    urls = {"openai": mock.url, "anthropic": mock.url}
    monkeypatch.setenv("MY_KEY", "sk-ant-from-env")
    (tmp_path / "key").write_text("sk-from-file\n")
    for key, provider in [
        (OPENAI_KEY, "openai"),
        (ANTHROPIC_KEY, "anthropic"),
        ("env:MY_KEY", "anthropic"),
        (f"file:{tmp_path / 'key'}", "openai"),
    ]:
        with LlmRouter(provider_key=key, base_urls={provider: urls[provider]}) as router:
            assert router.provider == provider, key
    with LlmRouter(provider_key=f"file:{tmp_path / 'key'}", base_urls={"openai": mock.url}) as router:
        assert key_sent(router) == "sk-from-file"
    with LlmRouter(provider_keys={"anthropic": ANTHROPIC_KEY}, base_urls={"anthropic": mock.url}) as router:
        assert router.provider == "anthropic"


def test_keys_from_the_environment_and_never_an_address(mock: MockProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", OPENAI_KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "not an address: must not be read")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "not an address: must not be read")
    with LlmRouter() as router:
        assert router.provider == "openai"
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("ANTHROPIC_API_KEY", ANTHROPIC_KEY)
    with LlmRouter() as router:
        assert router.provider == "anthropic"


def test_mock_mode_looks_at_nobody_s_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IC_TOKEN", "OPENAI_API_KEY", "IRON_API_KEY", "IRON_OPENAI_KEY", "IRON_SERVER_URL", "IRON_CONFIG"):
        monkeypatch.setenv(name, "http://192.0.2.1/must-not-be-read")
    with LlmRouter(mock=True) as router:
        assert post(router, CHAT)["choices"] and key_sent(router) == "sk-mock"


def test_client_tokens(mock: MockProvider) -> None:
    with LlmRouter(mock=True) as one, LlmRouter(mock=True) as other:
        assert one.api_key != other.api_key and len(one.api_key) >= 32
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(one, CHAT, token=other.api_key)
        assert refused.value.code == 401
        refused.value.close()
    with direct(mock, api_key="my-token") as router:
        assert router.api_key == "my-token"
    with direct(mock, client_token="my-token") as router:
        assert router.api_key == "my-token"


def test_settings_as_keywords(mock: MockProvider, tmp_path: Path) -> None:
    with direct(mock, token_file=tmp_path / "token", max_body_bytes="1KiB", allow_host=["a.example", "b.example"]) as router:
        assert (tmp_path / "token").read_text().strip() == router.api_key
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(router, {**CHAT, "user": "x" * 2000})
        assert refused.value.code == 413
        refused.value.close()
        connection = http.client.HTTPConnection("127.0.0.1", router.port, timeout=30)
        connection.request("GET", "/healthz", headers={"Host": "b.example"})
        assert connection.getresponse().status == 200
        connection.close()


def test_a_port_of_one_s_own(mock: MockProvider) -> None:
    with direct(mock) as first:
        port = first.port
    with direct(mock, port=port) as second:
        assert second.port == port


WRONG: Dict[str, "tuple[Dict[str, Any], str]"] = {
    "misspelt": ({"prot": 1}, "did you mean port?"),
    "misspelt own": ({"provider_kye": "x"}, "did you mean provider_key?"),
    "misspelt key": ({"openai_kez": "x"}, "did you mean openai_key?"),
    "of another release": ({"pii": "off"}, "pii"),
    "misspelt budget": ({"bugdet": 1}, "did you mean budget?"),
    "negative budget": ({"budget": -1}, "budget: must be an amount of US dollars"),
    "nan budget": ({"budget": float("nan")}, "budget: must be an amount of US dollars"),
    "endless budget": ({"budget": float("inf")}, "budget: must be an amount of US dollars"),
    "true budget": ({"budget": True}, "budget: must be a number of US dollars, not bool"),
    "budget in words": ({"budget": "10"}, "budget: must be a number of US dollars, not str"),
    "unknown word": ({"on_budget": "warn"}, "on_budget: must be clamp or refuse"),
    "window without ledger": (
        {"budget_window": "day"},
        "budget_window: day counts calls of earlier runs, so it needs a ledger: give state",
    ),
    "threshold of nothing": ({"thresholds": [0]}, "thresholds: must be whole percentages from 1 to 100"),
    "threshold of true": ({"thresholds": [True]}, "thresholds: must be text or a number, not bool"),
    "agents in no dict": ({"agents": ["a"]}, "agents: must be a dict"),
    "agent of no dict": ({"agents": {"a": 5}}, 'agents."a": must be a dict with budget, token, or nothing, not int'),
    "agent of no text": ({"agents": {5: {}}}, "agents: must be a dict whose names are text, not int"),
    "agent without a name": ({"agents": {"": {}}}, "agents: a name is 1 to 64 characters"),
    "agent with more": ({"agents": {"a": {"limit": 1}}}, 'takes budget and token, not "limit"'),
    "negative budget of an agent": ({"agents": {"a": {"budget": -1}}}, "agents.a.budget: must be an amount"),
    "true budget of an agent": ({"agents": {"a": {"budget": True}}}, 'agents."a".budget: must be a number of US dollars, not bool'),
    "number for an agent's token": ({"agents": {"a": {"token": 5}}}, 'agents."a".token: must be text, not int'),
    "one token for two": ({"agents": {"a": {"token": "t"}, "b": {"token": "t"}}}, "agents.b.token: is the token of agent a too"),
    "the router's token": ({"api_key": "t", "agents": {"a": {"token": "t"}}}, "is the token of the router's clients too"),
    "of the command": ({"log_format": "json"}, "logging"),
    "with a dash": ({"max-body-bytes": 1}, "did you mean max_body_bytes?"),
    "negative ttl": ({"cache_ttl_seconds": -1}, "cache_ttl_seconds"),
    "nan ttl": ({"cache_ttl_seconds": float("nan")}, "cache_ttl_seconds"),
    "true ttl": ({"cache_ttl_seconds": True}, "cache_ttl_seconds"),
    "ttl in words": ({"cache_ttl_seconds": "soon"}, "cache_ttl_seconds"),
    "port too large": ({"port": 65536}, "port"),
    "negative port": ({"port": -1}, "port"),
    "fractional port": ({"port": 80.5}, "port"),
    "no connections": ({"max_connections": 0}, "max_connections"),
    "bytes for text": ({"host": b"127.0.0.1"}, "host"),
    "no address": ({"base_urls": {"openai": "api.openai.com"}}, "openai_base_url"),
    "address with a password": ({"base_urls": {"openai": "https://u:p@x"}}, "openai_base_url"),
    "unknown provider": ({"base_urls": {"opnai": "http://x"}}, "did you mean openai?"),
    "address of no text": ({"base_urls": {"openai": 5}}, "base_urls: openai"),
    "said twice": ({"openai_key": "x"}, "provider_keys"),
    "two keys": ({"provider_key": "x"}, "provider_key"),
    "mock and key": ({"mock": True}, "mock=True"),
    "number for a key": ({"provider_key": 5}, "provider_key: must be text, not int"),
    "bytes for a key": ({"provider_key": OPENAI_KEY.encode()}, "provider_key: must be text, not bytes"),
    "number for a token": ({"api_key": 5}, "api_key: must be text, not int"),
    "bytes for an address": ({"server_url": b"http://x"}, "server_url: must be text, not bytes"),
    "keys in no dict": ({"provider_keys": OPENAI_KEY}, "provider_keys: must be a dict"),
    "provider of no text": ({"provider_keys": {5: OPENAI_KEY}}, "provider_keys: must be a dict whose names are text, not int"),
    "addresses in no dict": ({"base_urls": "http://x"}, "base_urls: must be a dict"),
    "mock in words": ({"mock": "no"}, "mock: must be True or False, not str"),
    "two tokens": ({"api_key": "a", "client_token": "b"}, "api_key and client_token"),
    "several ports": ({"port": [1, 2]}, "port: must be text or a number, not list"),
    "server without token": ({"server_url": "http://127.0.0.1:9"}, "api_key"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_wrong_settings(wrong: "tuple[Dict[str, Any], str]") -> None:
    settings, said = wrong
    with pytest.raises(ValueError) as refused:
        LlmRouter(**{"provider_keys": {"openai": OPENAI_KEY}, **settings})
    assert said in str(refused.value) and isinstance(refused.value, IronError)
    assert OPENAI_KEY not in str(refused.value)


def test_an_unknown_keyword_is_a_type_error_too() -> None:
    with pytest.raises(TypeError):
        LlmRouter(nonsense=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "settings",
    [{"provider_key": ""}, {"provider_key": "env:NO_SUCH"}, {"provider_keys": {"openai": ""}}, {"api_key": "x"}, {"provider_key": "a b"}],
    ids=repr,
)
def test_keys_that_can_t_be_used(settings: Dict[str, Any]) -> None:
    with pytest.raises(ValueError) as refused:
        LlmRouter(**settings)
    assert any(name in str(refused.value) for name in ("provider_key", "openai_key", "api_key"))


def test_nothing_given_names_every_option() -> None:
    with pytest.raises(ValueError) as refused:
        LlmRouter()
    for name in (
        "provider_key",
        "provider_keys",
        "api_key",
        "server_url",
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "IC_TOKEN",
        "IC_SERVER",
        "mock",
    ):
        assert name in str(refused.value), name


def test_a_missing_key_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as refused:
        LlmRouter(provider_key=f"file:{tmp_path / 'none'}")
    assert refused.value.errno == errno.ENOENT and isinstance(refused.value, IronError)


def test_a_port_in_use(mock: MockProvider) -> None:
    with direct(mock) as router:
        with pytest.raises(OSError) as refused:
            direct(mock, port=router.port)
        assert refused.value.errno == errno.EADDRINUSE and isinstance(refused.value, errors.BindError)


def test_an_unreachable_control_server() -> None:
    with LlmRouter("ic_x", "http://127.0.0.1:9", connect_timeout=1) as router:
        assert router.provider == "unknown" and router.is_running
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(router, CHAT)
        assert refused.value.code == 503 and refused.value.headers["retry-after"]
        refused.value.close()


def test_a_token_that_the_control_server_refuses(mock: MockProvider) -> None:
    openai = pytest.importorskip("openai")
    with LlmRouter("ic_unauthorized", mock.url) as router:
        with openai.OpenAI(base_url=router.base_url, api_key=router.api_key, max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError):
                client.chat.completions.create(**CHAT)


def test_after_stop() -> None:
    router = LlmRouter(mock=True)
    post(router, CHAT)
    router.stop()
    router.stop()
    assert not router.is_running and repr(router) == "LlmRouter(stopped)"
    for name in ("base_url", "openai_base_url", "anthropic_base_url", "port"):
        with pytest.raises(RuntimeError, match="Router is stopped"):
            getattr(router, name)
    with pytest.raises(RuntimeError, match="Router is stopped"):
        router.env()
    with pytest.raises(RuntimeError, match="Router is stopped"):
        router.__enter__()
    stats = router.stats()
    assert [stats[name] for name in ("requests", "failed", "refused", "in_flight")] == [1, 0, 0, 0]
    assert router.api_key and router.provider == "openai"


def test_repr_hides_the_token(mock: MockProvider) -> None:
    with direct(mock, api_key="my-token") as router:
        assert "my-token" not in repr(router) and str(router.port) in repr(router)
        assert OPENAI_KEY not in repr(router)


def test_it_does_not_travel() -> None:
    with LlmRouter(mock=True) as router, pytest.raises(TypeError, match="base_url"):
        pickle.dumps(router)


def test_logs(mock: MockProvider, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "iron_runtime"):
        with direct(mock, api_key="my-token") as router:
            post(router, CHAT)
        lines = [record.getMessage() for record in caplog.records if record.name == "iron_runtime"]
        assert lines[0].startswith("router_started") and lines[-1].startswith("1 request, ")
        assert any("llm_request_completed" in line and "gpt-4o-mini" in line for line in lines)
        assert not any(secret in line for line in lines for secret in ("my-token", OPENAI_KEY, "Hello!"))
    caplog.clear()
    with caplog.at_level(logging.ERROR, "iron_runtime"), direct(mock) as router:
        post(router, CHAT)
    assert not caplog.records


def test_levels_may_change_while_it_runs(mock: MockProvider, caplog: pytest.LogCaptureFixture) -> None:
    with direct(mock) as router:
        post(router, CHAT)
        assert not caplog.records
        with caplog.at_level(logging.INFO, "iron_runtime"):
            post(router, CHAT)
            router.stop()
        # The first call may be told late: its client had the reply before.
        assert sum("llm_request_completed #2 " in record.getMessage() for record in caplog.records) == 1
    logging.disable(logging.CRITICAL)
    try:
        caplog.clear()
        with caplog.at_level(logging.INFO, "iron_runtime"):
            logging.disable(logging.CRITICAL)
            with direct(mock) as router:
                post(router, CHAT)
        assert not caplog.records
    finally:
        logging.disable(logging.NOTSET)


def test_nothing_is_printed() -> None:
    code = (
        "import urllib.request, urllib.error\nfrom iron_runtime import LlmRouter\n"
        "with LlmRouter('ic_x', 'http://127.0.0.1:9') as router:\n"
        "    try: urllib.request.urlopen(router.base_url)\n    except urllib.error.HTTPError: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=clean_environment(), timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_fixture_of_the_plugin(iron_router: LlmRouter, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in iron_router.env().items():
        monkeypatch.setenv(name, value)
    assert post(iron_router, CHAT)["choices"] and os.environ["OPENAI_BASE_URL"] == iron_router.base_url


def test_the_stub_and_the_class_say_the_same() -> None:
    stub = ast.parse((Path(iron_runtime.__file__).parent / "_core.pyi").read_text(encoding="utf-8"))
    class_stub = next(node for node in stub.body if isinstance(node, ast.ClassDef))
    assert inspect.getdoc(LlmRouter) == ast.get_docstring(class_stub)
    for node in class_stub.body:
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node):
            assert inspect.getdoc(getattr(LlmRouter, node.name)) == ast.get_docstring(node), node.name
    keywords = {argument.arg for node in class_stub.body if isinstance(node, ast.FunctionDef) for argument in node.args.kwonlyargs}
    documented = {line.split(":")[0].strip() for line in (inspect.getdoc(LlmRouter) or "").splitlines() if line.startswith("    ")}
    assert keywords <= documented
    for keyword in keywords - {"provider_key", "provider_keys", "base_urls", "mock"}:
        with pytest.raises(ValueError, match=keyword):
            LlmRouter(**{keyword: object()})
