"""llama.cpp's batch: what it holds after each filling, whatever it held before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scheduler.backends.llama.batch import LlamaBatch, Run

SIZE = 12


@st.composite
def fillings(draw: st.DrawFn) -> list[Run]:
    slots = draw(st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True))
    runs: list[Run] = []
    for slot in sorted(slots):
        tokens = draw(st.lists(st.integers(0, 99), min_size=1, max_size=4))
        start, outputs = draw(st.integers(0, 50)), draw(st.integers(0, len(tokens)))
        runs.append(Run(slot, start, tokens, outputs))
    return runs


def rows(batch: LlamaBatch) -> list[tuple[int, int, int, bool]]:
    """Token, position, slot, and whether there are logits, as llama.cpp reads them."""
    struct = batch.struct
    assert all(struct.n_seq_id[row] == 1 for row in range(struct.n_tokens))
    return [
        (struct.token[row], struct.pos[row], struct.seq_id[row][0], bool(struct.logits[row]))
        for row in range(struct.n_tokens)
    ]


@given(st.lists(fillings(), min_size=1, max_size=5))
def test_a_batch_holds_what_it_was_filled_with_last(all_runs: list[list[Run]]) -> None:
    batch = LlamaBatch(SIZE)
    for runs in all_runs:
        for runs_now in (runs, [Run(r.slot, r.start + 1, r.tokens, r.num_outputs) for r in runs]):
            batch.fill(runs_now)
            expected = [
                (token, run.start + index, run.slot, index >= len(run.tokens) - run.num_outputs)
                for run in runs_now
                for index, token in enumerate(run.tokens)
            ]
            assert rows(batch) == expected
            with_outputs = [index for index, row in enumerate(expected) if row[3]]
            assert batch.output_indices == with_outputs
            slots = [batch.slot(index) for index in range(len(with_outputs))]
            assert slots == [expected[row][2] for row in with_outputs]
