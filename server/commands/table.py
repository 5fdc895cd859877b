"""Tables of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> str:
    """Rows below their heads; the columns named in `right` are aligned to the right."""
    return "\n".join(_lines([list(heads), *map(list, rows)], heads, right))


def _lines(
    rows: Sequence[Sequence[str]], heads: Sequence[str], right: Sequence[str]
) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    for row in rows:
        cells = (
            cell.rjust(width) if head in right else cell.ljust(width)
            for cell, width, head in zip(row, widths, heads, strict=True)
        )
        yield "  ".join(cells).rstrip()
