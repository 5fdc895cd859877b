"""Tables and sizes that people read."""

from __future__ import annotations

import pytest

from server.tables import size, table


def test_columns_are_as_wide_as_their_longest_text() -> None:
    shown = table(("NAME", "SIZE", "STATE"), [("a", "12 MiB", "loaded"), ("longer", "-", "")])
    assert shown.splitlines() == [
        "NAME      SIZE  STATE",
        "a       12 MiB  loaded",
        "longer       -",
    ]
    assert table(("NAME", "STATE"), []) == "NAME  STATE"


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.98 KiB"),
        (1 << 20, "1.00 MiB"),
        (25 * (1 << 30), "25.0 GiB"),
        (250 * (1 << 40), "250 TiB"),
        (5000 * (1 << 40), "5000 TiB"),
    ],
)
def test_sizes_have_three_digits(num_bytes: int, text: str) -> None:
    assert size(num_bytes) == text
