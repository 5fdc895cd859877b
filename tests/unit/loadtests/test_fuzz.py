"""The fuzzer's own parts: shapes, mutations, and findings that are made smaller."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings

from loadtests.fuzz import corpus
from loadtests.fuzz.family import of_reply, shape_of
from loadtests.fuzz.gguf_heads import changed, tiny_model
from loadtests.fuzz.minimize import minimized
from loadtests.fuzz.mutation import MOST_BYTES, mutated
from loadtests.trials.raw import Reply

pytestmark = pytest.mark.anyio


def test_errors_that_differ_in_numbers_and_names_have_one_shape() -> None:
    first, second = (
        json.dumps({"error": {"message": f"'{name}' must be at most {number}"}}).encode()
        for name, number in (("top_k", 5), ("n", 1024))
    )
    assert shape_of(first) == shape_of(second) != ""
    assert shape_of(b"no JSON") == shape_of(b"[]") == ""


@pytest.mark.parametrize("status", [0, 500])
def test_no_answer_and_a_500_are_faults(status: int) -> None:
    assert of_reply(Reply(status, b"", 0.1)).fault
    assert not of_reply(Reply(400, b"", 0.1)).fault


async def test_a_finding_is_made_smaller() -> None:
    async def fails(data: bytes) -> bool:
        return b"bad" in data

    assert await minimized(b"x" * 300 + b"bad" + b"y" * 300, fails, tries=200) == b"bad"


@settings(max_examples=50)
@given(mutated([b"a seed", b"another"], [b"word"]))
def test_mutations_are_bounded(data: bytes) -> None:
    assert len(data) <= MOST_BYTES


def test_a_head_is_changed_where_the_input_says() -> None:
    assert changed(b'{"at": [[0, "41"]], "cut": 8}') == b"A" + tiny_model()[1:8]
    assert changed(b"no JSON") == b"no JSON"


def test_kept_inputs_are_read_by_family(tmp_path: Path) -> None:
    corpus.write(tmp_path, "gbnf", b"root")
    assert corpus.read(tmp_path, "gbnf") == [b"root"]
    assert corpus.read(tmp_path, "http") == []
