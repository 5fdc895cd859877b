"""Sockets: every kind of address, and one clear message for an address that can't be bound."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.http.sockets import bind_all, close_all, is_exposed, local_url_of, url_of
from server.startup import StartupError


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another socket listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_free_port_is_the_same_for_all_addresses() -> None:
    sockets = bind_all(["127.0.0.1", "::1"], 0)
    port = sockets[0].getsockname()[1]
    assert [url_of(sock, tls=False) for sock in sockets] == [
        f"http://127.0.0.1:{port}",
        f"http://[::1]:{port}",
    ]
    close_all(sockets)


def test_all_addresses_of_both_families_at_once() -> None:
    sockets = bind_all(["0.0.0.0", "::"], 0)
    assert [sock.family for sock in sockets] == [socket.AF_INET, socket.AF_INET6]
    close_all(sockets)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("0.0.0.0", "https://127.0.0.1"),
        ("::", "https://[::1]"),
        ("127.0.0.1", "https://127.0.0.1"),
        ("::1", "https://[::1]"),
    ],
)
def test_a_browser_of_this_machine_is_told_an_address_that_it_can_open(
    host: str, local: str
) -> None:
    [sock] = bind_all([host], 0)
    assert local_url_of(sock, tls=True) == f"{local}:{sock.getsockname()[1]}"
    close_all([sock])


def test_several_servers_share_a_port_if_all_want_to() -> None:
    [first] = bind_all(["127.0.0.1"], 0, reuse_port=True)
    first.listen()
    port = first.getsockname()[1]
    [second] = bind_all(["127.0.0.1"], port, reuse_port=True)
    second.listen()
    assert second.getsockname() == first.getsockname()
    with pytest.raises(StartupError, match="in use"):
        bind_all(["127.0.0.1"], port)
    close_all([first, second])


def test_tls_is_part_of_the_url() -> None:
    [sock] = bind_all(["127.0.0.1"], 0)
    assert url_of(sock, tls=True).startswith("https://127.0.0.1:")
    close_all([sock])


def test_a_port_in_use(taken: int) -> None:
    with pytest.raises(StartupError) as caught:
        bind_all(["127.0.0.1"], taken)
    expected = f"can't listen on 127.0.0.1 port {taken}: it is in use already"
    assert str(caught.value) == expected


def test_a_failure_releases_what_was_bound(taken: int, tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with pytest.raises(StartupError):
        bind_all([str(path), "127.0.0.1"], taken)
    assert not path.exists()


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid"])
def test_an_address_of_somebody_else(host: str) -> None:
    with pytest.raises(StartupError, match=f"can't listen on {host}"):
        bind_all([host], 0)


def test_a_unix_socket_and_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    [sock] = bind_all([str(path)], 0)
    assert path.is_socket()
    assert url_of(sock, tls=False) == f"http+unix://{path}"
    sock.close()  # uvicorn closes the socket before we do
    close_all([sock])
    assert not path.exists()


def test_the_socket_of_a_server_that_is_gone_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    close_all(bind_all([str(path)], 0))


def test_the_socket_of_a_running_server_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as running:
        running.bind(str(path))
        running.listen()
        with pytest.raises(StartupError, match="in use already"):
            bind_all([str(path)], 0)
    assert path.exists()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    path.write_text("mine")
    with pytest.raises(StartupError, match="a file that is no socket"):
        bind_all([str(path)], 0)
    assert path.read_text() == "mine"


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="can't listen on"):
        bind_all([str(tmp_path / "nothing" / "a.sock")], 0)


@pytest.mark.parametrize(
    ("host", "exposed"),
    [("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True), ("::", True)],
)
def test_what_other_machines_can_reach(host: str, exposed: bool) -> None:
    sockets = bind_all([host], 0)
    assert any(is_exposed(sock) for sock in sockets) is exposed
    close_all(sockets)


def test_other_machines_can_not_reach_a_path(tmp_path: Path) -> None:
    [sock] = sockets = bind_all([str(tmp_path / "a.sock")], 0)
    assert not is_exposed(sock)
    close_all(sockets)
