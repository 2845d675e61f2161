"""What a process may do around a router: forget it, end, fork, be interrupted, be full of threads.

Most of these are programs of their own, run to their end: no hang (the limit is far above what they need), exit code 0, not a
word on stderr.
"""

import json
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import clean_environment

from iron_runtime import LlmRouter

PRELUDE = '''
import gc, http.client, json, multiprocessing, os, signal, socket, stat, sys, threading, urllib.request
from iron_runtime import LlmRouter, errors

def request(router, stream=False, x_mock=""):
    body = json.dumps({"model": "gpt-4o-mini", "stream": stream, "messages": [{"role": "user", "content": "Hello!"}]}).encode()
    fields = {"authorization": "Bearer " + router.api_key, "content-type": "application/json", "x-mock": x_mock}
    if not x_mock:
        del fields["x-mock"]
    return urllib.request.Request(router.base_url + "/chat/completions", body, fields)

def call(router, **more):
    with urllib.request.urlopen(request(router, **more), timeout=60) as reply:
        return reply.read()

def endless(router):
    """A stream that has begun and will not end by itself."""
    reply = urllib.request.urlopen(request(router, stream=True, x_mock="events=100000,spacing=50"), timeout=60)
    assert reply.readline().startswith(b"data: ")
    return reply

def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
'''


# From 3.12 on Python warns whenever a process with threads forks, which is what is tried here.
QUIET = ("-W", "ignore:This process:DeprecationWarning")


def run(program: str) -> str:
    """Runs a program to an orderly end without a word on stderr; its output."""
    text = PRELUDE + textwrap.dedent(program)
    command = [sys.executable, "-X", "faulthandler", *QUIET, "-c", text]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=clean_environment())
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


forks = pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="no fork here")


def test_stop_twice_from_many_threads() -> None:
    run(
        """
        router = LlmRouter(mock=True)
        call(router)
        threads = [threading.Thread(target=router.stop) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert not router.is_running and router.stats()["requests"] == 1
        """
    )


def test_collected_without_stop() -> None:
    run(
        """
        router = LlmRouter(mock=True)
        port = router.port
        call(router)
        del router
        gc.collect()
        assert not listens(port)
        """
    )


def test_collected_with_an_open_stream() -> None:
    run(
        """
        router = LlmRouter(mock=True)
        port, stream = router.port, endless(router)
        cycle = [router]
        cycle.append(cycle)
        del router, cycle
        gc.collect()
        assert not listens(port)
        try:
            stream.read()
        except http.client.IncompleteRead:
            print("cut")
        """
    )


@pytest.mark.parametrize("end", ["", "sys.exit(0)", "del router", "os._exit(0)"])
def test_exit_with_open_streams(end: str) -> None:
    run(f"router = LlmRouter(mock=True)\nstreams = [endless(router) for _ in range(3)]\n{end}")


def test_exit_with_open_streams_in_daemon_threads() -> None:
    run(
        """
        import logging
        logging.basicConfig(level=logging.DEBUG, filename=os.devnull)
        router = LlmRouter(mock=True)
        begun = threading.Barrier(5)
        def read():
            stream = endless(router)
            begun.wait()
            try: stream.read()
            except Exception: pass
        for _ in range(4): threading.Thread(target=read, daemon=True).start()
        begun.wait()
        """
    )


def test_exit_from_another_thread_and_routers_never_stopped() -> None:
    run(
        """
        routers = []
        thread = threading.Thread(target=lambda: routers.extend(LlmRouter(mock=True) for _ in range(5)))
        thread.start()
        thread.join()
        for router in routers: call(router)
        """
    )


def test_a_router_that_outlives_its_module() -> None:
    run(
        """
        class Holder:
            def __init__(self): self.router = LlmRouter(mock=True)
            def __del__(self): self.router.stop()
        holder = Holder()
        sys.modules["holder_of_the_router"] = holder
        """
    )


def test_a_router_made_while_the_interpreter_ends() -> None:
    run("import atexit\natexit.register(lambda: call(LlmRouter(mock=True)))")


def test_exceptions_inside_the_with() -> None:
    run(
        """
        for error in (ValueError, KeyboardInterrupt, SystemExit, GeneratorExit):
            try:
                with LlmRouter(mock=True) as router:
                    port, stream = router.port, endless(router)
                    raise error("mine")
            except BaseException as caught:
                assert type(caught) is error and caught.args == ("mine",)
            assert not listens(port) and not router.is_running
        """
    )


# A shell may have had Ctrl-C ignored for what it runs in the background.
INTERRUPTED = """
signal.signal(signal.SIGINT, signal.default_int_handler)

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
"""


def test_keyboard_interrupt_during_a_call() -> None:
    run(
        INTERRUPTED
        + textwrap.dedent(
            """
            with LlmRouter(mock=True) as router:
                stream = endless(router)
                try:
                    threading.Timer(0.2, interrupt).start()
                    stream.read()
                    raise SystemExit("not interrupted")
                except KeyboardInterrupt:
                    stream.close()
                assert call(router)
            """
        )
    )


def test_keyboard_interrupt_while_the_control_server_is_silent() -> None:
    run(
        INTERRUPTED
        + textwrap.dedent(
            """
            with socket.create_server(("127.0.0.1", 0)) as silent:
                asked = threading.Thread(target=lambda: (silent.accept()[0].recv(1), interrupt()))
                asked.start()
                try:
                    LlmRouter("ic_x", "http://127.0.0.1:%d" % silent.getsockname()[1])
                    raise SystemExit("not interrupted")
                except KeyboardInterrupt:
                    asked.join()
            """
        )
    )


def test_keyboard_interrupt_while_stopping() -> None:
    run(
        INTERRUPTED
        + textwrap.dedent(
            """
            router = LlmRouter(mock=True)
            stream = endless(router)
            try:
                threading.Timer(0.2, interrupt).start()
                router.stop()
                raise SystemExit("not interrupted")
            except KeyboardInterrupt:
                pass
            assert not router.is_running
            """
        )
    )


@forks
def test_a_forked_child_says_no_and_shares_no_socket() -> None:
    run(
        """
        router = LlmRouter(mock=True)
        call(router)
        stream = endless(router)
        def is_socket(number):
            try:
                return stat.S_ISSOCK(os.fstat(number).st_mode)
            except OSError:
                return False
        child = os.fork()
        if child == 0:
            code = 1
            try:
                for use in ("base_url", "openai_base_url", "anthropic_base_url", "port", "api_key", "provider", "env", "stats"):
                    try:
                        value = getattr(router, use)
                        value() if callable(value) else None
                        os.write(2, use.encode())
                    except RuntimeError as error:
                        assert "not running here" in str(error) and "new LlmRouter" in str(error), error
                assert not router.is_running and repr(router) == "LlmRouter(not running here)"
                router.stop()
                assert sum(map(is_socket, range(3, 200))) == 1      # the client's own end of its stream
                del router
                gc.collect()
                with LlmRouter(mock=True) as mine:
                    assert call(mine)
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert stream.readline() == b"\\n" and stream.readline().startswith(b"data: ")
        assert call(router)
        port = router.port
        router.stop()
        assert not listens(port)
        """
    )


@forks
def test_a_child_keeps_nothing_open() -> None:
    run(
        """
        router = LlmRouter(mock=True)
        stream, port = endless(router), router.port
        hold, release = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(release)
            os.read(hold, 1)
            os._exit(0)
        os.close(hold)
        router.stop()
        try:
            stream.read()       # ends although the child lives
        except http.client.IncompleteRead:
            pass
        again = LlmRouter(mock=True, port=port)
        assert call(again)
        again.stop()
        os.close(release)
        assert os.waitpid(child, 0)[1] == 0
        """
    )


@forks
def test_forks_in_the_thick_of_it() -> None:
    run(
        """
        import logging
        logging.basicConfig(level=logging.INFO, filename=os.devnull)
        router = LlmRouter(mock=True)
        call(router)    # what Python imports for it is imported: a fork in the midst of an import is Python's own trouble
        done = threading.Event()
        def busy():
            while not done.is_set(): call(router)
        threads = [threading.Thread(target=busy) for _ in range(4)]
        for thread in threads: thread.start()
        for _ in range(20):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    assert not router.is_running
                    with LlmRouter(mock=True) as mine: call(mine)
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
        done.set()
        for thread in threads: thread.join()
        router.stop()
        assert router.stats()["failed"] == 0
        """
    )


LEDGER = """
import subprocess, tempfile

state = os.path.join(tempfile.mkdtemp(), "ledger.db")

def rows():
    command = [sys.executable, "-m", "iron_runtime", "report", "--json", "--state", state]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)["requests"]
"""


@forks
def test_forks_while_a_ledger_is_kept() -> None:
    run(
        LEDGER
        + """
router = LlmRouter(mock=True, state=state, budget=1)
call(router)
threads = [threading.Thread(target=lambda: [call(router) for _ in range(25)]) for _ in range(4)]
for thread in threads: thread.start()
for nth in range(8):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            money = ("budget", "budget_status", "total_spent", "stats")
            for use in [lambda name=name: getattr(router, name) for name in money] + [lambda: router.set_budget(1)]:
                try:
                    value = use()
                    value() if callable(value) else os._exit(2)
                    os._exit(3)
                except RuntimeError as error:
                    assert "not running here" in str(error), error
            router.stop()
            del router
            gc.collect()
            # A child's own router on the same ledger: its row is kept without SQLite, which does not survive a fork.
            with LlmRouter(mock=True, state=state) as mine:
                call(mine)
            code = 0
        finally:
            if code or nth % 2:
                os._exit(code)
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
for thread in threads: thread.join()
call(router)
assert router.stats()["requests"] == 102, router.stats()
assert rows() == 110, rows()
router.stop()
assert rows() == 110
LlmRouter(mock=True, state=state).stop()
assert rows() == 110
"""
    )


def test_two_routers_on_one_ledger_collected_and_at_the_end() -> None:
    told = run(
        LEDGER
        + """
one, two = LlmRouter(mock=True, state=state), LlmRouter(mock=True, state=state, budget=1, budget_window="total")
for _ in range(3): call(one), call(two)
assert rows() == 6
assert one.stats()["requests"] == 3 and two.stats()["requests"] == 3
two.stop()
del one
gc.collect()
assert rows() == 6
with LlmRouter(mock=True, state=state, budget=1, budget_window="total") as again:
    spent = again.budget_status[0]
    assert spent > 0 and again.stats()["requests"] == 0
left = LlmRouter(mock=True, state=state)
call(left)
print(state)
"""
    )
    # The interpreter ended without a stop().
    command = [sys.executable, "-m", "iron_runtime", "report", "--json", "--state", told.strip()]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=clean_environment())
    assert json.loads(done.stdout)["requests"] == 7


@forks
def test_an_ordinary_end_in_a_forked_child() -> None:
    run(
        """
        with LlmRouter(mock=True) as router:
            call(router)
            child = os.fork()
            if child == 0:
                sys.exit(0)
            assert os.waitpid(child, 0)[1] == 0
            assert call(router)
        """
    )


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method: str, tmp_path: "object") -> None:
    program = PRELUDE + textwrap.dedent(
        """
        def by_address(base_url, api_key):
            fields = {"authorization": "Bearer " + api_key}
            with urllib.request.urlopen(urllib.request.Request(base_url + "/models", None, fields), timeout=60) as reply:
                return reply.status

        def own(_):
            with LlmRouter(mock=True) as mine:
                return len(call(mine)) > 0

        if __name__ == "__main__":
            context = multiprocessing.get_context(sys.argv[1])
            with LlmRouter(mock=True) as router:
                assert call(router)
                with context.Pool(2) as pool:
                    assert pool.starmap(by_address, [(router.base_url, router.api_key)] * 4) == [200] * 4
                    assert pool.map(own, range(4)) == [True] * 4
                    pool.close()
                    pool.join()
                assert call(router)
        """
    )
    if method not in __import__("multiprocessing").get_all_start_methods():
        pytest.skip("not on this system")
    script = tmp_path / "program.py"  # type: ignore[operator]
    script.write_text(program)
    command = [sys.executable, *QUIET, str(script), method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=clean_environment())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_64_clients_on_one_router(iron_router: LlmRouter) -> None:
    httpx = pytest.importorskip("httpx")
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello!"}]}
    fields = {"authorization": "Bearer " + iron_router.api_key}
    together = threading.Barrier(64)

    def client(number: int) -> int:
        with httpx.Client(base_url=iron_router.base_url, headers=fields, timeout=60) as http:
            together.wait()
            replies = [http.post("/chat/completions", json={**body, "stream": number % 2 == 0}) for _ in range(5)]
        return sum(reply.status_code == 200 and bool(reply.content) for reply in replies)

    with ThreadPoolExecutor(64) as pool:
        assert list(pool.map(client, range(64))) == [5] * 64
    iron_router.stop()
    stats = iron_router.stats()
    assert [stats[name] for name in ("requests", "failed", "refused", "in_flight")] == [320, 0, 0, 0]


def test_several_routers_in_one_process() -> None:
    run(
        """
        routers = [LlmRouter(mock=True) for _ in range(10)]
        assert len({router.port for router in routers}) == len({router.api_key for router in routers}) == 10
        for router in routers[::2]: router.stop()
        for router in routers[1::2]: assert call(router)
        for router in routers: router.stop()
        """
    )


def test_a_provider_in_python_in_the_same_process() -> None:
    run(
        """
        import http.server
        class Provider(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                if self.headers["x-want"] == "stream":
                    self.send_response(200)
                    self.send_header("content-type", "text/event-stream")
                    self.send_header("transfer-encoding", "chunked")
                    self.end_headers()
                    for _ in range(3):
                        self.wfile.write(b"a\\r\\ndata: {}\\n\\n\\r\\n")
                    self.wfile.write(b"0\\r\\n\\r\\n")
                    return
                body = json.dumps({"provider_key": "sk-x", "provider": "openai", "base_url": url}).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            def log_message(self, *_): pass
        provider = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
        provider.daemon_threads = True
        url = "http://127.0.0.1:%d" % provider.server_address[1]
        threading.Thread(target=provider.serve_forever, daemon=True).start()
        for router in (LlmRouter(provider_key="sk-x", base_urls={"openai": url}), LlmRouter("ic_x", url)):
            with router:
                for want in ("whole", "stream"):
                    ask = request(router)
                    ask.add_header("x-want", want)
                    with urllib.request.urlopen(ask, timeout=60) as reply:
                        assert reply.read().count(b"data: ") == (3 if want == "stream" else 0)
        provider.shutdown()
        """
    )


def test_in_asyncio() -> None:
    run(
        """
        import asyncio
        async def main():
            loop = asyncio.get_running_loop()
            with LlmRouter(mock=True) as router:
                replies = await asyncio.gather(*[loop.run_in_executor(None, call, router) for _ in range(8)])
                assert all(replies)
            server = await asyncio.start_server(control_server, "127.0.0.1", 0)
            url = "http://127.0.0.1:%d" % server.sockets[0].getsockname()[1]
            # The control server runs in this very loop: asked for the key in a thread, it can answer.
            made = await loop.run_in_executor(None, LlmRouter, "ic_x", url)
            assert made.provider == "anthropic"
            await loop.run_in_executor(None, made.stop)
            server.close()
        async def control_server(reader, writer):
            await reader.readuntil(b"}")
            body = b'{"provider_key": "sk-ant-x", "provider": "anthropic"}'
            writer.write(b"HTTP/1.1 200 OK\\r\\nconnection: close\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(body) + body)
            await writer.drain()
            writer.close()
        asyncio.run(main())
        """
    )


def test_a_log_handler_that_uses_the_router() -> None:
    run(
        """
        import logging
        class Handler(logging.Handler):
            def emit(self, record):
                lines.append(record.getMessage())
                if "llm_request_completed" in lines[-1] and len(lines) < 5:
                    router.stats()
                    call(router)
        lines = []
        logging.getLogger("iron_runtime").addHandler(Handler())
        logging.getLogger("iron_runtime").setLevel(logging.INFO)
        router = LlmRouter(mock=True)
        call(router)
        router.stop()
        assert any("router_stopped" in line for line in lines), lines
        """
    )


@pytest.mark.parametrize("error", ["ValueError", "SystemExit", "KeyboardInterrupt"])
def test_a_log_handler_that_raises(error: str) -> None:
    run(
        f"""
        import logging
        class Handler(logging.Handler):
            def emit(self, record):
                lines.append(record.getMessage())
                if len(lines) == 1:
                    raise {error}
        lines = []
        logging.getLogger("iron_runtime").addHandler(Handler())
        logging.getLogger("iron_runtime").setLevel(logging.INFO)
        router = LlmRouter(mock=True)
        call(router)
        router.stop()
        assert any("router_stopped" in line for line in lines), lines
        """
    )


def test_where_threads_are_not_threads() -> None:
    """What gevent and eventlet do to a program: a new "thread" runs in the one that starts it, so it must not block."""
    run(
        """
        import _thread, logging
        start = _thread.start_new_thread
        def patched(work, arguments, *more):
            raise SystemExit("would hang here")
        _thread.start_new_thread = threading._start_new_thread = patched
        if hasattr(threading, "_start_joinable_thread"):
            threading._start_joinable_thread = patched
        class Handler(logging.Handler):
            def emit(self, record): lines.append(record.getMessage())
        lines = []
        logging.getLogger("iron_runtime").addHandler(Handler())
        logging.getLogger("iron_runtime").setLevel(logging.INFO)
        router = LlmRouter(mock=True)
        router.stop()
        assert any("router_stopped" in line for line in lines), lines
        left = LlmRouter(mock=True)
        """
    )


def test_in_a_notebook() -> None:
    """What a notebook does: the same code again in the same process, and every result shown by its ``repr``."""
    interactive = pytest.importorskip("IPython.core.interactiveshell")
    del interactive
    cell = "from iron_runtime import LlmRouter; router = LlmRouter(mock=True); router"
    program = f"""
    from IPython.core.interactiveshell import InteractiveShell
    shell = InteractiveShell.instance()
    for _ in range(3):
        assert shell.run_cell({cell!r}).success
    assert call(shell.user_ns["router"])
    """
    out = run(program)
    assert out.count("LlmRouter(base_url='http://127.0.0.1:") == 3 and "api_key='***'" in out


def test_what_the_command_and_the_module_share() -> None:
    versions = {
        subprocess.run(command, capture_output=True, text=True, env=clean_environment(), timeout=60).stdout
        for command in ([sys.executable, "-m", "iron_runtime", "--version"], [sys.executable, "-c", RUN_COMMAND, "--version"])
    }
    assert len(versions) == 1 and json.dumps(versions.pop()).startswith('"iron-runtime ')


RUN_COMMAND = "import sys; from iron_runtime.__main__ import main; sys.exit(main())"
