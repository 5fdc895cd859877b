"""Where clients find a server."""

from __future__ import annotations

import pytest

from config import load_settings
from server.client.addresses import base_url, is_loopback, placed, url_of
from server.startup import CommandError


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/v1/", "http://127.0.0.1:8080"),
        ("https://llm.example.com/team/v1", "https://llm.example.com/team"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_an_address_may_end_as_people_write_it(given: str, url: str) -> None:
    assert base_url(given) == url


@pytest.mark.parametrize("given", ["", "127.0.0.1:8080", "ftp://here", "http://", "localhost"])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(CommandError, match="--url must be an address"):
        base_url(given)


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("http://127.0.0.1:1", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:1", True),
        ("http://localhost:1", True),
        ("http://10.0.0.1:1", False),
        ("http://localhost.example.com", False),
    ],
)
def test_this_machine_is_known_by_its_names(url: str, own: bool) -> None:
    assert is_loopback(url) is own


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ([], "http://127.0.0.1:8080"),
        (["--host", "0.0.0.0"], "http://127.0.0.1:8080"),
        (["--host", "::", "--port", "90"], "http://[::1]:90"),
        (["--host", "/tmp/a.sock,10.0.0.1"], "http://10.0.0.1:8080"),
        (["--api-prefix", "/llm/"], "http://127.0.0.1:8080/llm"),
    ],
)
def test_the_options_of_a_server_say_where_it_is(options: list[str], url: str) -> None:
    assert url_of(load_settings(options, {})) == url


def test_a_socket_alone_is_refused() -> None:
    with pytest.raises(CommandError, match="UNIX socket"):
        url_of(load_settings(["--host", "/tmp/a.sock"], {}))


def test_a_port_that_is_named_stays() -> None:
    assert placed(load_settings(["--port", "9000"], {})).port == 9000
    assert placed(load_settings([], {"LLAMA_ARG_PORT": "9001"})).port == 9001


def test_else_a_free_one_is_taken() -> None:
    assert placed(load_settings([], {})).port not in (0, 8080)


def test_nothing_can_be_found_on_port_0() -> None:
    with pytest.raises(CommandError, match="leave out --port"):
        placed(load_settings(["--port", "0"], {}))
