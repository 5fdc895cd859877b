"""The benchmark of what a step does besides computing."""

import pytest

from loadtests.steps.__main__ import COLUMNS, main


def test_each_number_of_slots_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--slots", "1,3", "--steps", "5", "--rounds", "1"])
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines[lines.index("") + 2 :]]
    assert status == 0
    assert [row[:2] for row in rows] == [["1", "these"], ["3", "these"]]
    assert all(float(computing) > 0 < float(between) for _, _, _, computing, between, *_ in rows)
    assert all(len(row) == 3 + len(COLUMNS) for row in rows)


def test_a_run_that_fails_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "missing.gguf", "--slots", "1", "--steps", "5", "--rounds", "1"]) == 2
    assert "missing.gguf" in capsys.readouterr().err
