"""The promises of SECURITY.md: what is said to hold them is there."""

from __future__ import annotations

import ast
import re

from loadtests.trials.attacks.families import ATTACKS
from tests.support.paths import ROOT

TEXT = (ROOT / "SECURITY.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[^`:]+\.py)(?:::(\w+))?`", TEXT)))
ROWS = [line for line in TEXT.splitlines() if line.startswith("| ") and "Held by" not in line]


def test_the_named_tests_exist() -> None:
    assert len(NAMED) > 20
    for path, name in NAMED:
        tree = ast.parse((ROOT / path).read_text())
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        names = {node.name for node in ast.walk(tree) if isinstance(node, kinds)}
        assert not name or name in names, f"{path} has no test {name}"


def test_every_promise_is_held_by_something() -> None:
    promises = TEXT.partition("## What is promised to whom")[2].partition("## What is in scope")[0]
    rows = [row for row in ROWS if row in promises]
    assert len(rows) > 25
    for row in rows:
        held = row.split("|")[2]
        assert "attacks " in held or "tests/" in held, row


def test_the_named_groups_of_attacks_exist() -> None:
    numbers = {attack.number for attack in ATTACKS}
    named = re.findall(r"attacks (\d+)(?: (?:and|to) (\d+))?(?: and (\d+))?", TEXT)
    assert {int(number) for group in named for number in group if number} <= numbers
    assert numbers == set(range(1, 14))


def test_each_group_has_the_first_attack_and_three_others() -> None:
    for number in range(1, 14):
        names = [attack.name for attack in ATTACKS if attack.number == number]
        assert len(names) >= 4
        assert len(set(names)) == len(names)
