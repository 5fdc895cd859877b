"""Processes that die, are told to stop, or can't start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.processes import (
    DEADLINE,
    SAME_SUMS,
    TARGET,
    Server,
    Stream,
    command,
    serving,
    starting,
    wait_until,
)

PROMPTS = ("What is the capital of France?", "One two three", "The weather", "Once upon a time")
LENGTH = {"n_predict": 300, "ignore_eos": True}


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(*SAME_SUMS) as server:
        yield server


def streams_of(server: Server) -> list[Stream]:
    """Four streams, each of which has received some text."""
    streams = [Stream(server, prompt, **LENGTH) for prompt in PROMPTS]
    wait_until(lambda: all(stream.num_events >= 3 for stream in streams))
    return streams


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_signals_to_the_engine_change_nothing(server: Server, number: signal.Signals) -> None:
    """Service managers send them to all processes of a service."""
    engine = server.engine
    assert engine is not None
    engine.send_signal(number)
    stream = Stream(server, PROMPTS[0], **LENGTH)
    stream.join()
    assert stream.is_whole
    assert engine.is_running()
    assert server.engine == engine


def test_streams_survive_the_death_of_the_engine(server: Server) -> None:
    undisturbed = [stream.join() for stream in streams_of(server)]
    streams = streams_of(server)
    server.kill_engine()
    assert not all(stream.is_whole for stream in streams)
    assert [stream.join() for stream in streams] == undisturbed
    assert all(stream.is_whole for stream in streams)
    assert "the engine died (SIGKILL); another one starts" in server.text
    assert "the engine runs again" in server.text


def test_streams_survive_any_number_of_deaths_that_they_did_not_cause(server: Server) -> None:
    undisturbed = [stream.join() for stream in streams_of(server)]
    streams = streams_of(server)
    for _ in range(3):
        wait_until(server.is_ready)
        seen = [stream.num_events for stream in streams]
        wait_until(
            lambda seen=seen: all(  # type: ignore[misc]
                stream.num_events > before or stream.is_whole
                for stream, before in zip(streams, seen, strict=True)
            )
        )
        server.kill_engine()
    assert [stream.join() for stream in streams] == undisturbed
    assert all(stream.is_whole for stream in streams)


def test_running_streams_finish_before_the_server_ends(server: Server) -> None:
    streams = streams_of(server)
    engine = server.engine
    server.process.send_signal(signal.SIGTERM)
    texts = [stream.join() for stream in streams]
    assert all(texts)
    assert all(stream.is_whole for stream in streams)
    assert server.process.wait(DEADLINE) == 0
    assert "] stopped" in server.text
    assert engine is not None
    assert not engine.is_running()


def test_a_term_signal_for_all_processes_lets_streams_finish_too(server: Server) -> None:
    streams = streams_of(server)
    assert server.engine is not None
    server.engine.send_signal(signal.SIGTERM)
    server.process.send_signal(signal.SIGTERM)
    assert all(stream.join() and stream.is_whole for stream in streams)
    assert server.process.wait(DEADLINE) == 0


def test_the_engine_ends_with_its_api_process(server: Server) -> None:
    engine = server.engine
    assert engine is not None
    server.process.kill()
    psutil.wait_procs([engine], timeout=DEADLINE)
    assert not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE


def fails_with_one_line(*flags: str) -> str:
    """The last line of standard error of a server that could not start."""
    done = subprocess.run(
        command(*flags), capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    complaints = [line for line in done.stderr.splitlines() if "rror" in line]
    assert len(complaints) == 1, done.stderr
    return complaints[0]


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(os.urandom(1000))
    assert "bad.gguf" in fails_with_one_line("-m", str(path), "--port", "0")


def test_a_model_that_ends_early(tmp_path: Path) -> None:
    path = tmp_path / "short.gguf"
    path.write_bytes(TARGET.read_bytes()[:-100_000])
    assert "short.gguf" in fails_with_one_line("-m", str(path), "--port", "0")


def test_a_port_in_use() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert port in fails_with_one_line("-m", str(TARGET), "--port", port)


def test_a_server_that_is_told_to_end_while_it_loads_ends_at_once() -> None:
    with starting() as server:
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(DEADLINE) == 0
