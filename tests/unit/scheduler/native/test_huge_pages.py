"""How much of a process lies in huge pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from scheduler.native.huge_pages import _SUMS, huge_page_bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Rss: 9 kB\nAnonHugePages:    145408 kB\nSwap: 1 kB\n", 142 << 20),
        ("AnonHugePages: 0 kB\n", 0),
        ("Rss: 9 kB\n", None),
        ("", None),
    ],
)
def test_the_systems_sums_tell(tmp_path: Path, text: str, expected: int | None) -> None:
    sums = tmp_path / "smaps_rollup"
    sums.write_text(text)
    assert huge_page_bytes(sums) == expected


def test_a_system_without_sums_tells_nothing(tmp_path: Path) -> None:
    assert huge_page_bytes(tmp_path / "none") is None


@pytest.mark.skipif(not _SUMS.exists(), reason="this system does not tell")
def test_this_process_can_be_asked() -> None:
    assert huge_page_bytes() is not None
