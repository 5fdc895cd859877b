"""The engine's process: started, watched, restarted; a script plays the engine."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import psutil
import pytest

from protocol.commands import SequenceSpec
from protocol.config import EngineConfig
from protocol.events import Finished
from protocol.sampling import SamplingParams
from server.engine import supervisor
from server.engine.client import EngineClient
from server.engine.sequence_stream import SequenceStream
from server.engine.supervisor import OPENMP_DEFAULTS, EngineProcess
from server.errors import EngineFailed, Unavailable
from tests.support.inprocess import wait_until
from tests.support.paths import ROOT
from tests.support.play_engine import DEADLY, DEADLY_TO_ADD, STUN, STUN_TO_ADD

pytestmark = pytest.mark.anyio

PLAYER = ROOT / "tests" / "support" / "play_engine.py"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waits between restarts, and the script in the engine's place."""
    start = asyncio.create_subprocess_exec

    async def start_player(
        program: str, *arguments: str, **options: object
    ) -> asyncio.subprocess.Process:
        descriptor = arguments[-1]
        return await start(program, str(PLAYER), descriptor, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(supervisor, "RESTART_SECONDS", (0.0,))
    monkeypatch.setattr(supervisor, "WATCH_SECONDS", 0.05)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", start_player)


@asynccontextmanager
async def engine(
    behaviour: str, hang_seconds: float = 0
) -> AsyncIterator[tuple[EngineProcess, EngineClient]]:
    """A process that plays an engine; the model's path tells it what to do."""
    client = EngineClient(lambda stats: None)
    process = EngineProcess(EngineConfig(model_path=behaviour), client, hang_seconds)
    await process.start()
    try:
        yield process, client
    finally:
        await process.stop()


async def test_an_engine_that_loads_is_ready() -> None:
    async with engine("good") as (process, client):
        assert (await client.wait_loaded()).description == "fake"
        assert client.is_ready
        assert process.pid


async def test_stopping_ends_the_process() -> None:
    async with engine("good") as (process, client):
        await client.wait_loaded()
        pid = process.pid
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_killed_engine_is_replaced() -> None:
    async with engine("good") as (process, client):
        await client.wait_loaded()
        first = process.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await wait_until(lambda: process.num_restarts == 1 and client.is_ready)
        assert process.pid != first


NOT_NOW: list[Exception] = [
    OSError(errno.EMFILE, "not now"),
    OSError(errno.ENOMEM, "not now"),
    OSError(errno.EAGAIN, "not now"),
    MemoryError(),
    RuntimeError("can't start new thread"),
]


@pytest.mark.parametrize("failure", NOT_NOW, ids=repr)
async def test_an_engine_that_cannot_be_started_for_a_while_is_started_later(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, failures = asyncio.create_subprocess_exec, [failure] * 3

    async def start_or_fail(*arguments: str, **options: object) -> asyncio.subprocess.Process:
        if failures:
            raise failures.pop()
        return await start(*arguments, **options)  # type: ignore[arg-type]

    async with engine("good") as (process, client):
        await client.wait_loaded()
        monkeypatch.setattr(asyncio, "create_subprocess_exec", start_or_fail)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        await wait_until(lambda: not failures and client.is_ready)
        assert await number_of_tokens(submit(client, 20)) == 20


async def test_an_engine_that_could_not_be_told_what_to_load_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failures, pids = [MemoryError()] * 2, set[int]()
    async with engine("good") as (process, client):
        await client.wait_loaded()
        connect = client.connect

        async def connect_or_fail(sock: socket.socket, config: EngineConfig) -> None:
            if failures:
                assert process.pid is not None
                pids.add(process.pid)
                raise failures.pop()
            await connect(sock, config)

        monkeypatch.setattr(client, "connect", connect_or_fail)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        await wait_until(lambda: not failures and client.is_ready)
        assert await number_of_tokens(submit(client, 20)) == 20
        await wait_until(lambda: not any(map(psutil.pid_exists, pids)))


@pytest.mark.parametrize("failure", NOT_NOW, ids=repr)
async def test_a_supervisor_that_fails_itself_goes_on(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [failure] * 2
    monkeypatch.setattr(supervisor, "PAUSE_SECONDS", 0.0)
    async with engine("good") as (process, client):
        await client.wait_loaded()
        engine_died = client.engine_died

        def die_or_fail() -> None:
            if failures:
                raise failures.pop()
            engine_died()

        monkeypatch.setattr(client, "engine_died", die_or_fail)
        stream = submit(client, 20)
        for _ in range(3):
            assert process.pid is not None
            pid = process.pid
            os.kill(pid, signal.SIGKILL)
            await wait_until(lambda: process.pid != pid and client.is_ready)  # noqa: B023
        assert not failures
        assert await number_of_tokens(stream) == 20


async def test_starts_that_fail_wait_ever_longer_after_an_engine_that_has_generated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []
    sleep = asyncio.sleep

    async def slept(seconds: float) -> None:
        if seconds in (1000.0, 2000.0, 3000.0):
            waits.append(seconds)
            seconds = 0.001
        await sleep(seconds)

    async def fail(*arguments: str, **options: object) -> asyncio.subprocess.Process:
        raise OSError(errno.EMFILE, "not now")

    monkeypatch.setattr(supervisor, "RESTART_SECONDS", (1000.0, 2000.0, 3000.0))
    async with engine("good") as (process, client):
        await client.wait_loaded()
        assert await number_of_tokens(submit(client, 20)) == 20
        monkeypatch.setattr(asyncio, "create_subprocess_exec", fail)
        monkeypatch.setattr(asyncio, "sleep", slept)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        await wait_until(lambda: len(waits) >= 4)
    assert waits[:4] == [1000.0, 2000.0, 3000.0, 3000.0]


@pytest.mark.parametrize("fault", ["exit", "refuse"])
async def test_clients_are_told_of_an_outage_and_it_ends(fault: str) -> None:
    """Such as a model file that vanished, and came back."""
    async with engine("good") as (process, client):
        await client.wait_loaded()
        good = process._config
        process._config = msgspec.structs.replace(good, model_path=fault)
        stream = submit(client, 20)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(Unavailable, match="can't be started"):
            await number_of_tokens(stream)
        with pytest.raises(Unavailable, match="can't be started"):
            submit(client, 21)
        process._config = good
        await wait_until(lambda: client.is_ready)
        assert await number_of_tokens(submit(client, 22)) == 20


def submit(client: EngineClient, first: int) -> SequenceStream:
    """A short greedy request whose prompt begins with this token."""
    sampling = SamplingParams(temperature=0.0)
    return client.add_request(SequenceSpec(prompt=(first, 12), sampling=sampling, max_tokens=20))


async def number_of_tokens(stream: SequenceStream) -> int:
    """Reads it to its end. Raises what ended it early."""
    while not isinstance((await stream.events())[-1].event, Finished):
        pass
    return len(stream.tokens)


async def test_a_request_that_kills_every_engine_is_refused_and_the_others_are_not() -> None:
    async with engine("good") as (process, client):
        await client.wait_loaded()
        others = [submit(client, first) for first in (20, 21, 22)]
        deadly = submit(client, DEADLY)
        with pytest.raises(EngineFailed, match="died repeatedly"):
            await number_of_tokens(deadly)
        others.append(submit(client, 23))
        assert await asyncio.gather(*map(number_of_tokens, others)) == [20] * 4
        assert process.num_restarts == 2


@pytest.mark.parametrize(("first", "hang_seconds"), [(DEADLY_TO_ADD, 0), (STUN_TO_ADD, 1.0)])
@pytest.mark.parametrize("num_others", [0, 1, 7])
async def test_a_request_that_cannot_be_added_is_refused_and_the_others_are_not(
    first: int, hang_seconds: float, num_others: int
) -> None:
    """The others run when the engine dies of it."""
    async with engine("good", hang_seconds) as (process, client):
        await client.wait_loaded()
        others = [submit(client, 20 + number) for number in range(num_others)]
        await wait_until(lambda: all(stream.is_running for stream in others))
        deadly = submit(client, first)
        with pytest.raises(EngineFailed, match="died repeatedly"):
            await number_of_tokens(deadly)
        others.append(submit(client, 30))
        assert await asyncio.gather(*map(number_of_tokens, others)) == [20] * len(others)
        assert process.num_restarts == 2


async def test_two_that_kill_every_engine_are_both_found() -> None:
    async with engine("good") as (_, client):
        await client.wait_loaded()
        streams = [submit(client, first) for first in (20, DEADLY, 21, DEADLY)]
        answers = await asyncio.gather(*map(number_of_tokens, streams), return_exceptions=True)
        assert answers[0] == answers[2] == 20
        assert isinstance(answers[1], EngineFailed)
        assert isinstance(answers[3], EngineFailed)


async def test_an_engine_that_hangs_is_killed_and_what_made_it_hang_is_refused() -> None:
    async with engine("good", hang_seconds=2.5) as (process, client):
        await client.wait_loaded()
        other, stunning = submit(client, 20), submit(client, STUN)
        with pytest.raises(EngineFailed, match="died repeatedly"):
            await number_of_tokens(stunning)
        assert await number_of_tokens(other) == 20
        assert process.num_restarts == 2


async def test_what_the_engine_said_before_it_gave_up_is_told() -> None:
    for _ in range(5):  # its exit and its words race
        async with engine("refuse") as (process, client):
            with pytest.raises(EngineFailed, match="the file is damaged"):
                await client.wait_loaded()
        assert process.num_restarts == 0


async def test_an_engine_that_exits_without_a_word_is_not_tried_again() -> None:
    async with engine("exit") as (process, client):
        with pytest.raises(EngineFailed, match="exit code 3"):
            await client.wait_loaded()
        assert process.num_restarts == 0


async def test_a_crash_while_loading_is_answered_by_other_kernels() -> None:
    async with engine("crash with repack") as (process, client):
        assert (await client.wait_loaded()).description == "fake"
        assert process.num_restarts == 1


async def test_stopping_while_the_engine_loads_does_not_wait_for_it() -> None:
    async with engine("load forever") as (process, _):
        await wait_until(lambda: process.pid is not None)
        begin = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - begin < supervisor.STOP_SECONDS


async def test_an_engine_that_ends_while_it_is_killed_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """uvloop says so with an error, until somebody has waited for the process."""
    async with engine("load forever") as (process, _):
        await wait_until(lambda: process.pid is not None)
        child = process._process
        assert child is not None
        kill = child.kill

        def kill_and_complain() -> None:
            kill()
            raise ProcessLookupError

        monkeypatch.setattr(child, "kill", kill_and_complain)
        await process.stop(0.0)
        assert child.returncode == -signal.SIGKILL


def _environment(base: dict[str, str], **fields: Any) -> dict[str, str]:
    return supervisor._environment(base, EngineConfig(model_path="m.gguf", **fields))


@pytest.mark.parametrize("mode", ["auto", "none", "mmap"])
def test_other_load_modes_leave_glibc_alone(mode: str) -> None:
    assert "GLIBC_TUNABLES" not in _environment({}, load_mode=mode)
    assert _environment({"GLIBC_TUNABLES": "x=1"}, load_mode=mode)["GLIBC_TUNABLES"] == "x=1"


def test_huge_pages_come_from_glibc_beside_what_the_operator_sets() -> None:
    assert _environment({}, load_mode="huge")["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"
    for own in ("glibc.malloc.check=1", "glibc.malloc.hugetlb=2"):
        tunables = _environment({"GLIBC_TUNABLES": own}, load_mode="huge")["GLIBC_TUNABLES"]
        assert tunables == f"glibc.malloc.hugetlb=1:{own}"


async def test_openmp_threads_sleep_unless_the_operator_says_otherwise() -> None:
    environment = _environment({"A": "1"})
    expected = {"A": "1", "GOMP_SPINCOUNT": "5000", **OPENMP_DEFAULTS}
    assert environment.items() >= expected.items()
    assert _environment({"GOMP_SPINCOUNT": "9"})["GOMP_SPINCOUNT"] == "9"


@pytest.mark.parametrize(("poll", "spins"), [(0, "0"), (7, "700"), (100, "10000")])
def test_poll_says_how_long_openmp_spins(poll: int, spins: str) -> None:
    assert _environment({}, poll=poll)["GOMP_SPINCOUNT"] == spins


async def test_no_debugger_is_started_when_an_engine_aborts() -> None:
    """Unless the operator sets the variable."""
    assert _environment({})["GGML_NO_BACKTRACE"] == "1"
    assert _environment({"GGML_NO_BACKTRACE": ""})["GGML_NO_BACKTRACE"] == ""
