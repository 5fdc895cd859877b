"""RPC servers are greeted before llama.cpp talks to them, so that nothing is aborted."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from scheduler.backends.base import LoadError
from scheduler.backends.llama import devices, remote

HELLO = bytes([14]) + struct.pack("<Q", 24) + bytes(24)


def reply(major: int, minor: int, patch: int = 0, size: int = 28) -> bytes:
    return struct.pack("<Q4B", size, major, minor, patch, 0) + bytes(24)


OURS = reply(*remote.PROTOCOL)


class Worker:
    """Answers each greeting with the next of the replies; the last one repeats."""

    def __init__(self, *replies: bytes) -> None:
        self._replies = list(replies)
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._sock.getsockname()[1]}"
        self.greetings: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._sock.accept()
            except OSError:
                return
            with client:
                self.greetings.append(client.recv(1024))
                answer = self._replies[0] if len(self._replies) == 1 else self._replies.pop(0)
                client.sendall(answer)

    def close(self) -> None:
        self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


@contextmanager
def worker(*replies: bytes) -> Iterator[Worker]:
    running = Worker(*replies)
    try:
        yield running
    finally:
        running.close()


def free_address() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"


def test_a_server_of_this_version_is_taken_at_once() -> None:
    with worker(OURS) as there:
        remote.wait_for(there.address, 0)
        assert there.greetings == [HELLO]


def test_the_patch_level_does_not_matter() -> None:
    with worker(reply(*remote.PROTOCOL, patch=9)) as there:
        remote.wait_for(there.address, 0)


@pytest.mark.parametrize(
    ("major", "minor"), [(6, 0), (8, 0), (remote.PROTOCOL[0], remote.PROTOCOL[1] + 1)]
)
def test_another_version_is_refused_without_waiting(major: int, minor: int) -> None:
    with worker(reply(major, minor)) as there:
        with pytest.raises(LoadError, match=rf"--rpc: .*speaks version {major}\.{minor}\.0"):
            remote.wait_for(there.address, 1000)
        assert len(there.greetings) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "closed the connection"),
        (OURS[:20], "closed the connection"),
        (reply(7, 0, size=4), "no RPC server of this version"),
        (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "no RPC server"),
    ],
)
def test_what_is_no_rpc_server_is_named(answer: bytes, reason: str) -> None:
    with (
        worker(answer) as there,
        pytest.raises(LoadError, match=f"no RPC server answers at {there.address}: .*{reason}"),
    ):
        remote.wait_for(there.address, 0)


def test_nobody_at_the_address_is_an_error_that_names_it() -> None:
    address = free_address()
    with pytest.raises(LoadError, match=f"--rpc: no RPC server answers at {address}: .*refused"):
        remote.wait_for(address, 0)


def test_a_silent_server_is_one_that_serves_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "GREETING_SECONDS", 0.05)
    with (
        socket.create_server(("127.0.0.1", 0)) as sock,
        pytest.raises(LoadError, match="serves one engine at a time"),
    ):
        remote.wait_for(f"127.0.0.1:{sock.getsockname()[1]}", 0)


def test_a_server_that_starts_again_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    with worker(b"", b"", OURS) as there:
        remote.wait_for(there.address)
        assert len(there.greetings) == 3
    assert len(pauses) == 2


def test_a_build_without_rpc_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "ggml_function", lambda *_: lambda *_: None)
    with pytest.raises(LoadError, match="GGML_RPC=ON"):
        remote.add_remote_devices(["127.0.0.1:50052"])


def test_without_servers_nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "ggml_function", None)
    remote.add_remote_devices([])
