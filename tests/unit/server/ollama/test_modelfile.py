"""Modelfiles: what is read, and what is refused by name."""

from __future__ import annotations

import pytest

from server.errors import InvalidRequest
from server.ollama.modelfile import read_modelfile


def test_all_instructions() -> None:
    found = read_modelfile(
        "# made by hand\n\nfrom bob:7b\n"
        'Parameter temperature 0.5\nPARAMETER stop "a b"\nPARAMETER stop c\n'
        'SYSTEM """\nTwo\nlines"""\n  TEMPLATE   chatml\nLICENSE "one"\nLICENSE two\n'
        'MESSAGE user Hi there\nMESSAGE assistant """Hello\nyou"""\n'
    )
    assert found.base == "bob:7b"
    assert found.parameters == {"temperature": 0.5, "stop": ["a b", "c"]}
    assert found.system == "\nTwo\nlines"
    assert found.template == "chatml"
    assert found.license == "one\ntwo"
    assert found.messages == [
        {"role": "user", "content": "Hi there"},
        {"role": "assistant", "content": "Hello\nyou"},
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-1", -1),
        ("0.25", 0.25),
        ("true", True),
        ('"7"', 7),
        ("[1]", "[1]"),
        ("null", "null"),
        ("abc def", "abc def"),
        ('"a', '"a'),
    ],
)
def test_values_of_parameters(text: str, value: object) -> None:
    assert read_modelfile(f"PARAMETER Seed {text}").parameters == {"seed": value}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"a\\nb"', "a\nb"),
        ('"a"b"', 'a"b'),
        ('"""a"""', "a"),
        ('""', ""),
        ("a", "a"),
        ('"', '"'),
    ],
)
def test_quotes(text: str, value: str) -> None:
    assert read_modelfile(f"SYSTEM {text}").system == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ADAPTER a.gguf", "ADAPTER a.gguf"),
        ("FROM", "'FROM'"),
        ("hello", "'hello'"),
        ("PARAMETER seed", "no value"),
        ('SYSTEM """a\nb', "within three quotes"),
    ],
)
def test_refusals(text: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match="modelfile") as caught:
        read_modelfile(text)
    assert reason in caught.value.message


def test_nothing_says_nothing() -> None:
    assert read_modelfile("\n# only a comment\n").base == ""
