"""The topic names the server's address as routers know it."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

import pytest

from server.http.sockets import bind_all, close_all
from server.kv_events.topic import place_of, topic_of


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_is_taken_as_it_is(host: str) -> None:
    sockets = bind_all([host], 0)
    port = sockets[0].getsockname()[1]
    assert topic_of(place_of("kv@{host}:{port}@{model}", sockets), "m") == f"kv@{host}:{port}@m"
    close_all(sockets)


def test_a_server_on_all_addresses_is_known_by_one() -> None:
    sockets = bind_all(["0.0.0.0"], 0)
    host = place_of("{host}", sockets)
    assert host == socket.gethostname() or not ipaddress.ip_address(host).is_unspecified
    close_all(sockets)


def test_a_socket_without_an_address_is_passed_over(tmp_path: Path) -> None:
    sockets = bind_all([str(tmp_path / "s.sock")], 0)
    assert place_of("{host}:{port}", sockets) == f"{socket.gethostname()}:0"
    more = bind_all(["127.0.0.1"], 0)
    assert place_of("{host}", [*sockets, *more]) == "127.0.0.1"
    close_all([*sockets, *more])


def test_braces_in_a_model_s_name_are_no_places() -> None:
    assert topic_of(place_of("kv@{model}", []), "a{port}") == "kv@a{port}"
