"""Checkpoints that sequences share: when they are saved, and what is computed again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from protocol.commands import AddRequest
from protocol.config import CheckpointConfig
from scheduler.core.abilities import CacheAbilities
from scheduler.core.cache_edits import (
    CacheEdit,
    CopyPrefix,
    Drop,
    Restore,
    RestoreCheckpoint,
    Save,
    SaveCheckpoint,
)
from scheduler.kv_cache.host_cache import Checkpoint
from tests.support.fake_backend import STATE_BYTES
from tests.support.scheduling import (
    CountingBackend,
    Outcomes,
    alone,
    make_engine,
    make_request,
    prompt,
)
from tests.support.scheduling import run as run_engine

RIGID = CacheAbilities(can_trim=False, can_checkpoint=True)
SHARED = 900


@dataclass
class RecordingBackend(CountingBackend):
    """A fake that can't trim, and keeps a list of all edits."""

    abilities: CacheAbilities = RIGID
    edits: list[CacheEdit] = field(default_factory=list)

    def edit(self, edit: CacheEdit) -> None:
        super().edit(edit)
        self.edits.append(edit)


class Life:
    """An engine of two slots, and its requests one after the other."""

    def __init__(self, cache_bytes: int = 100_000, per_slot: int = 32, **fields: Any) -> None:
        fields = {"n_slots": 2, "n_ctx_slot": 2000, "n_batch": 256, **fields}
        self.backend = RecordingBackend(**fields)
        self.engine = make_engine(
            self.backend,
            cache_bytes=cache_bytes,
            checkpoints=CheckpointConfig(per_slot=per_slot, step=0),
        )
        self.num_requests = 0

    def run(self, *prompts: list[int], **fields: Any) -> tuple[list[int], int]:
        """Answer prompts that come at once; returns how many of their tokens were cached, and how
        many rows were computed for them."""
        requests: list[AddRequest] = []
        for tokens in prompts:
            self.num_requests += 1
            requests.append(make_request(self.num_requests, tokens, max_tokens=5, **fields))
        before = self.backend.num_computed
        self.backend.edits.clear()
        outcomes: Outcomes = run_engine(self.engine, *requests)
        for request in requests:
            expected = alone(request, self.backend)
            assert outcomes[request.request_id].tokens == expected.tokens
        cached = [outcomes[request.request_id].num_cached for request in requests]
        return cached, self.backend.num_computed - before

    def kinds(self) -> list[type]:
        """The kinds of the last run's edits."""
        return [type(edit) for edit in self.backend.edits]


def conversation(family: int, shared: int = SHARED, own: int = 30) -> list[int]:
    """A prompt that begins as all others do."""
    return [*prompt(shared), *prompt(own, 20 + family)]


@pytest.mark.parametrize("has_no_cells", [False, True])
class TestSharing:
    """With cells that a checkpoint needs, and without."""

    def test_others_use_what_left_its_slot(self, has_no_cells: bool) -> None:
        life = Life(has_no_cells=has_no_cells)
        life.run(conversation(0))
        life.run(prompt(300, 7), prompt(300, 8))
        (cached,), computed = life.run(conversation(1))
        assert cached >= 0.95 * SHARED
        assert computed <= SHARED + 30 - cached + 5

    def test_where_two_parted_the_third_starts(self, has_no_cells: bool) -> None:
        life = Life(has_no_cells=has_no_cells)
        life.run(conversation(0, own=500))
        assert life.run(conversation(1, own=500))[0] == [0]
        assert life.run(conversation(2, own=500))[0] == [SHARED]
        assert life.run(conversation(3), conversation(4))[0] == [SHARED, SHARED]

    def test_a_checkpoint_serves_several_at_once(self, has_no_cells: bool) -> None:
        life = Life(has_no_cells=has_no_cells, n_slots=4)
        life.run(conversation(0), partings=(SHARED,))
        found, computed = life.run(*map(conversation, range(1, 5)))
        assert found == [SHARED] * 4
        assert computed <= 4 * 35

    @pytest.mark.parametrize("length", [200, 700, 928])
    def test_what_two_share_is_computed_once(self, has_no_cells: bool, length: int) -> None:
        life = Life(has_no_cells=has_no_cells)
        found, computed = life.run(conversation(1, length), conversation(2, length))
        assert found == [0, length]
        assert computed <= length + 2 * 35

    def test_twins_compute_the_prompt_once(self, has_no_cells: bool) -> None:
        life = Life(has_no_cells=has_no_cells, n_slots=4)
        found, computed = life.run(*[prompt(500)] * 4)
        assert sorted(found) == [0, 496, 496, 496]
        assert computed <= 500 + 3 * 4 + 4 * 5

    def test_a_prompt_that_is_asked_again(self, has_no_cells: bool) -> None:
        life = Life(has_no_cells=has_no_cells)
        life.run(prompt(500))
        assert life.run(prompt(500))[0] == [496]
        assert life.run(prompt(500))[0] == [496]

    def test_the_last_turn_is_asked_otherwise(self, has_no_cells: bool) -> None:
        life = Life(has_no_cells=has_no_cells)
        life.run(prompt(300))
        slot = next(slot for slot in life.engine.scheduler.cache.slots if slot.num_tokens)
        turn = slot.tokens[: slot.num_tokens]
        for family in range(3):
            assert life.run([*turn, *prompt(30, 5 + family)])[0] == [len(turn)]

    def test_other_tenants_share_nothing(self, has_no_cells: bool) -> None:
        life = Life(has_no_cells=has_no_cells)
        life.run(prompt(500), cache_salt="a")
        assert life.run(prompt(500), cache_salt="b")[0] == [0]

    @pytest.mark.parametrize("fields", [{"cache_bytes": 0}, {"per_slot": 0}])
    def test_without_checkpoints_there_are_none(
        self, has_no_cells: bool, fields: dict[str, int]
    ) -> None:
        life = Life(has_no_cells=has_no_cells, **fields)
        life.run(prompt(500))
        assert SaveCheckpoint not in life.kinds()
        assert life.run([*prompt(400), 5, 6])[0] == [0]


def test_the_number_of_checkpoints_is_bounded() -> None:
    life = Life(per_slot=2)
    for family in range(9):
        life.run(prompt(300, family))
        assert life.engine.scheduler.cache.host_cache.num_checkpoints == min(2 * family + 2, 4)


def test_checkpoints_count_by_their_size() -> None:
    life = Life()
    life.run(prompt(300))
    assert life.kinds() == [SaveCheckpoint, SaveCheckpoint]
    assert life.engine.scheduler.cache.host_cache.size == 2 * STATE_BYTES


def test_the_least_recently_used_checkpoint_gives_way() -> None:
    life = Life(per_slot=1)
    life.run(prompt(150, 1))
    life.run(prompt(150, 2))
    life.run(prompt(150, 1))
    life.run(prompt(150, 3))
    kept = [e for e in life.engine.scheduler.cache.host_cache if isinstance(e, Checkpoint)]
    assert Drop in life.kinds()
    assert [entry.tokens for entry in kept] == [prompt(146, 1), prompt(146, 3)]
    assert life.run(prompt(150, 1))[0] == [146]


def test_a_whole_slot_is_copied_without_a_checkpoint() -> None:
    life = Life()
    life.run(conversation(1), conversation(2))
    assert CopyPrefix in life.kinds()
    assert RestoreCheckpoint not in life.kinds()


class TestNarrowContext:
    """All slots together have fewer cells than they could use, and copies take cells of their
    own."""

    @pytest.mark.parametrize("n_ctx", [700, 900, 1100, 1300, 1600])
    @pytest.mark.parametrize("length", [100, 300, 390])
    def test_copies_never_need_more_cells_than_there_are(self, n_ctx: int, length: int) -> None:
        life = Life(n_slots=4, n_ctx_slot=n_ctx, n_ctx=n_ctx)
        life.run(prompt(400))
        for family in range(3):
            life.run(conversation(family, length), conversation(family + 3, length))
            life.run([*prompt(400), *prompt(50, family)])

    def test_an_idle_slot_is_used_where_a_copy_has_no_room(self) -> None:
        life = Life(n_slots=3, n_ctx_slot=700, n_ctx=700)
        life.run(prompt(400), partings=(100,))
        slots = life.engine.scheduler.cache.slots
        holder = next(slot for slot in slots if slot.num_tokens)
        (cached,), _ = life.run([*prompt(100), *prompt(20, 5)])
        assert cached == 100
        assert CopyPrefix not in life.kinds()
        assert holder.num_tokens == 124

    def test_other_idle_slots_give_way_to_a_copy(self) -> None:
        life = Life(n_slots=3, n_ctx_slot=1000, n_ctx=1000)
        life.run(prompt(400), partings=(100,))
        life.run(prompt(300, 1))
        (cached,), _ = life.run([*prompt(100), *prompt(20, 5)])
        assert cached == 100
        assert CopyPrefix in life.kinds()


def test_a_prefix_of_host_memory_goes_back_to_a_checkpoint() -> None:
    life = Life()
    life.run(conversation(0), partings=(SHARED,))
    life.run(prompt(300, 7), prompt(300, 8))
    life.run(conversation(1))
    restores = [e for e in life.backend.edits if isinstance(e, Restore | RestoreCheckpoint)]
    assert [type(edit) for edit in restores] == [Restore, RestoreCheckpoint]
    assert [restore.length for restore in restores] == [SHARED + 30 + 4, SHARED]


def test_what_a_longer_prefix_contains_is_kept_as_a_checkpoint() -> None:
    """Host memory has all cells of the turn already, but not what can't be trimmed."""
    life = Life(n_slots=1)
    life.run(prompt(300))
    turn = life.engine.scheduler.cache.slots[0].tokens[:304]
    life.run([*turn, *prompt(200, 5)])
    life.run(prompt(100, 6))
    life.run(prompt(100, 7))
    assert sum(isinstance(edit, Save) for edit in life.backend.edits) == 1
    assert life.run([*turn, *prompt(40, 8)])[0] == [304]
