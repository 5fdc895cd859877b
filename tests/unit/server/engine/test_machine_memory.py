"""The usable memory, inside a container and outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.engine.machine_memory import usable_memory


def test_a_container_has_what_its_limit_says(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text("123456789\n")
    assert usable_memory(limit) == 123456789


@pytest.mark.parametrize("text", ["max\n", "", "999999999999999999\n"])
def test_without_a_limit_it_is_the_machine(tmp_path: Path, text: str) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text(text)
    assert usable_memory(limit) == usable_memory(tmp_path / "missing") > 1 << 28
