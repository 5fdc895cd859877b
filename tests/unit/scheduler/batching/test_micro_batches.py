"""How a batch is cut into micro-batches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.batching.micro_batches import Layout, MicroBatch, split_into_micro_batches

PARTITIONED = Layout(n_ubatch=512)
UNIFIED = Layout(n_ubatch=512, is_unified=True)


def pieces(*sizes: tuple[int, int]) -> list[MicroBatch]:
    return [MicroBatch(slots, rows) for slots, rows in sizes]


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([(0, 1)], pieces((1, 1))),
        ([(0, 1), (1, 1), (2, 1)], pieces((3, 3))),
        ([(0, 1), (2, 1)], pieces((1, 1), (1, 1))),
        ([(0, 4), (1, 1), (2, 2)], pieces((3, 3), (1, 3), (1, 1))),
        ([(0, 5), (1, 5)], pieces((2, 10))),
        ([(3, 1200)], pieces((1, 512), (1, 512), (1, 176))),
        ([(0, 400), (1, 400)], pieces((2, 512), (2, 288))),
    ],
)
def test_slots_with_streams_of_their_own(
    runs: list[tuple[int, int]], expected: list[MicroBatch]
) -> None:
    assert split_into_micro_batches(runs, PARTITIONED) == expected


def test_in_one_stream_rows_are_taken_as_they_come() -> None:
    assert split_into_micro_batches([(0, 4), (2, 1), (3, 700)], UNIFIED) == pieces(
        (3, 512), (3, 193)
    )


WHOLE_TAILS = Layout(n_ubatch=32, whole_tail=5)


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([(0, 1), (1, 1)], pieces((2, 2))),
        ([(0, 4), (1, 4)], pieces((2, 8))),
        # slot 0 would be left with 3 rows: it is computed alone, then its neighbour
        ([(0, 4), (1, 1)], pieces((1, 4), (1, 1))),
        # slot 0 ends here, slot 1 would be left with 3
        ([(0, 1), (1, 4)], pieces((1, 1), (1, 4))),
        # slot 1 has enough left for a tail
        ([(0, 1), (1, 6)], pieces((2, 2), (1, 5))),
        # 34 rows are too many for one piece, and 2 too few for the last
        ([(0, 34)], pieces((1, 29), (1, 5))),
        ([(0, 33), (1, 1)], pieces((2, 2), (1, 32))),
    ],
)
def test_a_slots_last_rows_stay_together(
    runs: list[tuple[int, int]], expected: list[MicroBatch]
) -> None:
    assert split_into_micro_batches(runs, WHOLE_TAILS) == expected


@given(st.dictionaries(st.integers(0, 12), st.integers(1, 40), min_size=1), st.integers(1, 64))
def test_no_row_is_lost_and_no_piece_too_large(rows: dict[int, int], n_ubatch: int) -> None:
    runs = sorted(rows.items())
    layouts = [Layout(n_ubatch), Layout(n_ubatch, is_unified=True)]
    layouts += [Layout(n_ubatch, whole_tail=tail) for tail in (2, 9) if tail < n_ubatch]
    for layout in layouts:
        found = split_into_micro_batches(runs, layout)
        assert sum(piece.num_rows for piece in found) == sum(rows.values())
        assert all(0 < piece.num_slots <= piece.num_rows <= n_ubatch for piece in found)
