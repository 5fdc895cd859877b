"""The tables of ARCHITECTURE.md have the rows of the import contracts."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.support.paths import ROOT

TEXT = (ROOT / "ARCHITECTURE.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def layers(package: str) -> list[set[str]]:
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    (found,) = [one for one in contracts if one.get("containers") == [package]]
    return [set(row.split(" | ")) for row in found["layers"]]


def rows(package: str) -> list[set[str]]:
    lines = TEXT[TEXT.index(f"| `{package}/` | What it is |") :].splitlines()[2:]
    table = lines[: lines.index("")]
    return [set(re.findall(r"`([\w]+)/?`", line.split(" | ")[0])) for line in table]


@pytest.mark.parametrize("package", ["server", "scheduler"])
def test_the_rows_of_the_picture_are_those_of_the_contract(package: str) -> None:
    assert rows(package) == layers(package)


def test_the_words_of_the_glossary_are_in_order() -> None:
    lines = TEXT[TEXT.index("| Word | Meaning |") :].splitlines()[2:]
    words = [line.split("|")[1].strip() for line in lines if line.startswith("|")]
    assert words == sorted(words)
