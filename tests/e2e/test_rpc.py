"""A model on two RPC servers: the same tokens, and streams that outlive a server.

Skipped where llama.cpp was built without RPC.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from loadtests.harness.ports import free_port
from tests.support.processes import (
    COMMAND,
    DEADLINE,
    SAME_SUMS,
    Server,
    Stream,
    serving,
    wait_until,
)

HAS_RPC = """
from llama_cpp import llama_cpp as lib
from scheduler.backends.llama.devices import load_backends
from scheduler.backends.llama.remote import procedure
lib.llama_backend_init()
load_backends()
procedure("ggml_backend_rpc_start_server")
"""
PROMPTS = ("What is the capital of France?", "One two three", "The weather", "Once upon a time")
LENGTH = {"n_predict": 450, "ignore_eos": True}


@pytest.fixture(scope="module", autouse=True)
def rpc() -> None:
    done = subprocess.run([sys.executable, "-c", HAS_RPC], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("llama.cpp was built without RPC")


class Worker:
    """A process of `llamapack rpc-server`."""

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self._port = port
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Start the process, again if it has ended."""
        command = [str(COMMAND), "rpc-server", "--port", str(self._port), "--threads", "1"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        return self.process

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE)


@contextmanager
def workers(count: int = 2) -> Iterator[list[Worker]]:
    running = [Worker(free_port()) for _ in range(count)]
    try:
        yield running
    finally:
        for one in running:
            one.kill()


@contextmanager
def split(there: list[Worker], *flags: str) -> Iterator[Server]:
    """A server whose model is on these workers."""
    addresses = ",".join(one.address for one in there)
    with serving("--rpc", addresses, "--no-measure-costs", *flags) as server:
        yield server


def texts(server: Server) -> list[str]:
    return [stream.join() for stream in [Stream(server, text, **LENGTH) for text in PROMPTS]]


def test_the_tokens_are_those_of_one_machine() -> None:
    with serving() as alone:
        expected = texts(alone)
    with workers() as there, split(there, "-v") as server:
        assert texts(server) == expected
        for number, one in enumerate(there):
            assert f"using device RPC{number} ({one.address})" in server.text
            assert f"dev = RPC{number}" in server.text  # the cells of its layers, too


def test_streams_survive_the_death_of_a_worker() -> None:
    with workers() as there, split(there, *SAME_SUMS) as server:
        undisturbed = texts(server)
        streams = [Stream(server, text, **LENGTH) for text in PROMPTS]
        wait_until(lambda: all(stream.num_events >= 3 for stream in streams))
        there[1].kill()
        wait_until(lambda: "the engine died" in server.text)
        assert not all(stream.is_whole for stream in streams)
        there[1].start()
        assert [stream.join() for stream in streams] == undisturbed
        assert all(stream.is_whole for stream in streams)


def test_a_worker_that_died_and_came_back_while_nobody_asked_costs_no_answer() -> None:
    with workers() as there, split(there) as server:
        undisturbed = texts(server)
        there[0].kill()
        there[0].start()
        assert texts(server) == undisturbed


def test_a_worker_of_another_version_ends_the_start() -> None:
    with other_version() as address:
        done = subprocess.run(
            [str(COMMAND), "serve", "--port", "0", "--rpc", address],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
    assert done.returncode != 0
    assert f"the RPC server at {address} speaks version 9.1.2" in done.stderr


@contextmanager
def other_version() -> Iterator[str]:
    """The address of what answers like an RPC server of a later llama.cpp."""

    def answer() -> None:
        client, _ = sock.accept()
        with client:
            client.recv(1024)
            client.sendall(struct.pack("<Q4B", 28, 9, 1, 2, 0) + bytes(24))

    with socket.create_server(("127.0.0.1", 0)) as sock:
        threading.Thread(target=answer, daemon=True).start()
        yield f"127.0.0.1:{sock.getsockname()[1]}"


def test_the_devices_of_workers_are_listed() -> None:
    with workers(1) as there:
        done = subprocess.run(
            [str(COMMAND), "serve", "--list-devices", "--rpc", there[0].address],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
    assert f"RPC0: {there[0].address}" in done.stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--port", "0"), "--port: must be a number from 1 to 65535, got 0"),
        (("--port", "x"), "--port: must be a number"),
        (("--host", "::1"), "--host: ::1 is no IPv4 address"),
        (("--device", "CUDA9"), "there is no device CUDA9; there are: "),
        (("--threads", "0"), "--threads: must be a number from 1 to 512"),
    ],
)
def test_wrong_flags_of_a_worker_are_named(flags: tuple[str, ...], message: str) -> None:
    done = subprocess.run(
        [str(COMMAND), "rpc-server", *flags],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode != 0
    assert message in done.stderr


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [str(COMMAND), "rpc-server", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
    assert done.returncode == 1
    assert f"can't listen on 127.0.0.1:{port}: Address already in use" in done.stderr
