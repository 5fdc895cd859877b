"""Tables and sizes that people read."""

from __future__ import annotations

from collections.abc import Sequence

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The rows under a head, in columns as wide as their longest text, two spaces apart.

    Texts that begin with a digit are flush right, as is the head of such a column.
    """
    columns = list(zip(head, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    is_number = [bool(rows) and all(_is_number(text) for text in column[1:]) for column in columns]
    return "\n".join(
        "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, is_number, strict=True)
        ).rstrip()
        for line in (head, *rows)
    )


def size(num_bytes: float) -> str:
    """A size in the unit that leaves it below 1024, with three digits."""
    unit = 0
    while num_bytes >= 1000 and unit < len(_UNITS) - 1:
        num_bytes /= 1024
        unit += 1
    digits = 0 if unit == 0 or num_bytes >= 100 else 1 if num_bytes >= 10 else 2
    return f"{num_bytes:.{digits}f} {_UNITS[unit]}"


def _is_number(text: str) -> bool:
    return text[:1].isdigit() or text in ("", "-")
