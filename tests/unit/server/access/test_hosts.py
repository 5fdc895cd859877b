"""Which Host headers a server on a loopback address answers."""

from __future__ import annotations

import pytest

from server.access.hosts import AllowedHosts


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "LocalHost:1",
        "localhost.",
        "llm.localhost:3000",
        "a.b.localhost",
        "127.0.0.1",
        "127.0.0.1:8080",
        "127.9.8.7:65535",
        "[::1]",
        "[::1]:8080",
        "[0:0:0:0:0:0:0:1]:8080",
        "[::ffff:127.0.0.1]:80",
    ],
)
def test_names_of_this_machine(host: str) -> None:
    assert AllowedHosts().allows(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "evil-localhost",
        "notlocalhost:8080",
        "127.0.0.1.evil.example",
        "127.0.0.1.nip.io:8080",
        "0.0.0.0:8080",
        "192.168.1.5:8080",
        "[fe80::1]:8080",
        "2130706433",
        "127.1",
        "localhost evil.example",
        "evil.example#localhost",
        "user@localhost",
        "*",
        "*.localhost.evil",
    ],
)
def test_other_names(host: str) -> None:
    assert not AllowedHosts().allows(host)
    assert AllowedHosts(["*"]).allows(host)


@pytest.mark.parametrize(
    ("names", "host", "is_allowed"),
    [
        (["llm.example.com"], "llm.example.com", True),
        (["llm.example.com"], "LLM.Example.com.:443", True),
        (["llm.example.com"], "example.com", False),
        (["llm.example.com"], "a.llm.example.com", False),
        (["*.example.com"], "a.example.com:1", True),
        (["*.example.com"], "a.b.example.com", True),
        (["*.example.com"], "example.com", False),
        (["*.example.com"], "badexample.com", False),
        (["10.0.0.7"], "10.0.0.7:8080", True),
        (["[fd00::7]"], "[fd00::7]:8080", True),
    ],
)
def test_names_that_the_operator_adds(names: list[str], host: str, is_allowed: bool) -> None:
    assert AllowedHosts(names).allows(host) is is_allowed


@pytest.mark.parametrize(
    ("host", "own", "is_allowed"),
    [
        ("10.0.0.7:8080", "10.0.0.7", True),
        ("[fd00::7]:8080", "fd00::7", True),
        ("10.0.0.8:8080", "10.0.0.7", False),
        ("evil.example", "evil.example", False),
    ],
)
def test_the_address_that_a_probe_connects_to(host: str, own: str, is_allowed: bool) -> None:
    assert AllowedHosts().allows(host, own_address=own) is is_allowed
