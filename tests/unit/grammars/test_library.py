"""What each shipped grammar accepts and refuses, by tables and by parsers of its format."""

from __future__ import annotations

import ast
import csv
import datetime
import io
import json
import random
import re
import sqlite3
import urllib.parse
import uuid
from collections.abc import Callable

import pytest
from llguidance import LLMatcher, LLTokenizer

from grammars import compiler, library
from grammars.acceptance import accept
from grammars.constraint import LLGuidanceGrammar
from grammars.errors import GrammarError

ACCEPTED = {
    "arithmetic": ["1", "-2.5", "1+2*3", "(1 + 2) * -(3 - 4)", "10 / (2*5)"],
    "chess": ["1. e4 e5", "1. e4 e5\n2. Nf3 Nc6\n3. Bb5 a6", "1. e4 O-O-O+\n2. exd8=Q# 1-0"],
    "csv": ["a,b\n1,2", '"a ""b""",c\r\n', "", "one", ",,\n,,\n"],
    "date": ["2024-02-29", "2000-02-29", "1999-12-31", "2023-04-30"],
    "email": ["a@b.co", "first.last+tag@sub.example.org"],
    "integer": ["0", "7", "-12", "123456789012345678"],
    "json": [
        '{"a": [1, -2.5e3, null, true], "b": {}}',
        "[]",
        '"\\u00e9\\n"',
        "0",
        '{\n  "a": 1\n}',
    ],
    "json_array": ["[]", '[1, "x", {"a": []}]', "[[1], [2]]"],
    "list": ["- one", "- one\n- two\n", "- a - b"],
    "markdown_table": [
        "| a | b |\n| --- | :-: |\n| 1 | 2 |",
        "| a | b |\n| --- | --- |\n| x y | z |\n",
    ],
    "number": ["0", "-1.5", "12e-3", "0.25"],
    "python_literal": ["None", "[1, 'a', (2,), {'k': b'v'}]", "{1, 2}", "-.5e3", "()", "'\\x41\"'"],
    "sql_select": [
        "SELECT * FROM users",
        "SELECT DISTINCT a, b AS c FROM t WHERE a = 1 AND (b <> 'x' OR c IS NOT NULL);",
        "SELECT count(*) FROM a INNER JOIN b ON a.id = b.id GROUP BY a.x HAVING count(*) > 2",
        "SELECT a FROM t WHERE a IN (SELECT b FROM u) ORDER BY a DESC, b LIMIT 10 OFFSET 5",
        "SELECT a FROM t UNION ALL SELECT b FROM u",
    ],
    "time": ["00:00", "23:59:59.123Z", "12:30:00+02:00"],
    "url": ["http://a", "https://www.example.org:8080/a/b%20c?q=1&r=2#top"],
    "uuid": ["123e4567-e89b-12d3-a456-426614174000", "123E4567-E89B-12D3-A456-426614174000"],
    "yes_no": ["yes", "no"],
}

REFUSED = {
    "arithmetic": ["", "1+", "1++2", "(1", "01", "1 +  2", "a"],
    "chess": ["", "e4 e5", "1. e4", "1. e9 e5", "0. e4 e5", "1. e8 e5"],
    "csv": ['a"b', '"a', '"a"b'],
    "date": ["2023-02-29", "1900-02-29", "2024-04-31", "2024-13-01", "2024-00-10", "24-01-01", ""],
    "email": ["a@b", "@b.co", "a b@c.de", "a@-b.co", "a.@b.co", "a@b..co"],
    "integer": ["", "-0", "01", "1.0", "+1", " 1"],
    "json": ["", "{", "[1,]", '{"a" 1}', "01", "nul", '"\\x"', '"a', "{'a': 1}", "[1] "],
    "json_array": ["{}", "1", "[", ""],
    "list": ["", "one", "-one", "- ", "- a\n\n- b", "* a"],
    "markdown_table": ["", "| a |\n| --- |\n| 1 |", "| a | b |\n| 1 | 2 |", "| a | b |\n| - | - |"],
    "number": ["", ".5", "1.", "00", "1e", "NaN", "+1"],
    "python_literal": ["", "[1", "none", "{1: }", "(1", "'a\n'", "1 + 2", "f'x'", "(,)"],
    "sql_select": ["", "DROP TABLE t", "SELECT FROM t", "SELECT a", "SELECT a FROM t; DROP t"],
    "time": ["24:00", "12:60", "1:00", "12", "12:00:00+25:00"],
    "url": ["ftp://a", "http://", "example.org", "http://a b", "http://a:0", "http://a/%zz"],
    "uuid": ["123e4567e89b12d3a456426614174000", "123E4567-e89b-12d3-a456-426614174000", ""],
    "yes_no": ["", "maybe", "yes ", "Yes", "yesno"],
}  # fmt: skip


def grammar(name: str) -> LLGuidanceGrammar:
    constraint = compiler.named(name)
    assert isinstance(constraint, LLGuidanceGrammar)
    return constraint


def test_all_have_examples_and_a_summary() -> None:
    assert set(library.shipped()) == set(ACCEPTED) == set(REFUSED)
    assert all(len(grammar.summary) > 10 for grammar in library.shipped().values())


@pytest.mark.parametrize("name", sorted(ACCEPTED))
def test_accepts(name: str) -> None:
    refused = [text for text in ACCEPTED[name] if not accept(grammar(name), text).is_accepted]
    assert refused == []


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refuses(name: str) -> None:
    accepted = [text for text in REFUSED[name] if accept(grammar(name), text).is_accepted]
    assert accepted == []


def test_dates_are_those_of_the_calendar() -> None:
    dates = grammar("date")
    for year in (1, 1900, 2000, 2023, 2024, 2100):
        for month in range(1, 13):
            for day in (28, 29, 30, 31):
                text = f"{year:04}-{month:02}-{day:02}"
                assert accept(dates, text).is_accepted == is_read(datetime.date.fromisoformat, text)


def is_read(reader: Callable[[str], object], text: str) -> bool:
    try:
        reader(text)
    except ValueError:
        return False
    return True


def read_sql(text: str) -> None:
    """SQLite parses first and complains about unknown tables later, so such complaints mean
    success."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute(text)
    except sqlite3.OperationalError as error:
        if re.search("syntax error|incomplete|unrecognized", str(error)):
            raise ValueError(f"{error}: {text}") from error
    finally:
        connection.close()


def read_time(text: str) -> None:
    datetime.time.fromisoformat(re.sub(r"(\.\d{1,6})\d*", r"\1", text))


READERS: dict[str, Callable[[str], object]] = {
    "arithmetic": lambda text: compile(text, "", "eval"),
    "csv": lambda text: list(csv.reader(io.StringIO(text, newline=""), strict=True)),
    "date": lambda text: text.startswith("0000") or datetime.date.fromisoformat(text),
    "integer": int,
    "json": json.loads,
    "json_array": json.loads,
    "number": json.loads,
    "python_literal": ast.parse,
    "sql_select": read_sql,
    "time": read_time,
    "url": urllib.parse.urlsplit,
    "uuid": uuid.UUID,
}


@pytest.mark.parametrize("name", sorted(READERS))
def test_random_texts_are_read_by_a_reader_of_the_format(name: str) -> None:
    definition = grammar(name).definition
    texts = [text for seed in range(40) if (text := random_text(definition, seed)) is not None]
    assert len(texts) > 5
    for text in texts:
        READERS[name](text)


def random_text(definition: str, seed: int) -> str | None:
    """A text that the grammar allows, or None if it hadn't ended after 200 bytes."""
    rng = random.Random(seed)
    matcher = LLMatcher(LLTokenizer("byte"), definition, log_level=0)
    text = bytearray()
    while len(text) < 200:
        if matcher.is_stopped() or (matcher.is_accepting() and rng.random() < 0.3):
            return text.decode()
        mask = int.from_bytes(matcher.compute_bitmask(), "little")
        allowed = [byte for byte in range(128) if mask >> byte & 1]
        text.append(rng.choice(allowed))
        assert matcher.try_consume_tokens([text[-1]]) == 1
    return None


def test_an_unknown_name_is_refused_with_those_that_exist() -> None:
    with pytest.raises(GrammarError, match=r"no grammar named 'jsn'.*json_array"):
        compiler.named("jsn")
