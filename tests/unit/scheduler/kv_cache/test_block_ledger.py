"""Which blocks are told of: each when the first holder has it whole, until the last lets go."""

from __future__ import annotations

from protocol.blocks import BlocksCleared, BlocksRemoved, BlocksStored, Medium
from protocol.commands import Abort, ContextShift, EraseSlot
from scheduler.core.abilities import CacheAbilities
from scheduler.core.cache_scope import CacheScope
from scheduler.engine.engine import Engine
from scheduler.kv_cache.blocks import block_names
from tests.support.block_view import BlockView
from tests.support.fake_backend import FakeBackend
from tests.support.scheduling import drain, make_engine, make_request, prompt

SIZE = 8
ONE_ROW = {"max_tokens": 1}


def watched(cache_bytes: int = 0, **backend: object) -> Engine:
    values = {"n_slots": 2, "n_ctx_slot": 256, "n_batch": 64, **backend}
    engine = make_engine(FakeBackend(**values), cache_bytes=cache_bytes)  # type: ignore[arg-type]
    engine.watch_blocks(SIZE)
    return engine


def run(engine: Engine, tokens: list[int], **fields: object) -> None:
    request_id = engine.scheduler.cache.begin_step() + 1000
    engine.add_request(make_request(request_id, tokens, **{**ONE_ROW, **fields}))
    drain(engine, {})


def stored(engine: Engine) -> list[BlocksStored]:
    """The stores among the events since the last call, which are nothing else."""
    events = engine.take_block_events()
    found = [event for event in events if isinstance(event, BlocksStored)]
    assert found == events
    return found


def names(tokens: list[int], scope: CacheScope = CacheScope()) -> list[int]:  # noqa: B008
    return block_names(tokens, scope, SIZE, [], len(tokens) // SIZE)


def test_an_engine_begins_with_no_blocks() -> None:
    engine = watched()
    assert engine.take_block_events() == [BlocksCleared()]
    assert engine.take_block_events() == []


def test_models_of_one_server_name_equal_blocks_differently() -> None:
    tokens = prompt(21)
    plain = block_names(tokens, CacheScope(), SIZE, [], 2)
    named = {kind: block_names(tokens, CacheScope(), SIZE, [], 2, kind) for kind in ("a", "b")}
    assert len({*plain, *named["a"], *named["b"]}) == 6
    engine = watched()
    engine.watch_blocks(SIZE, "a")
    run(engine, tokens)
    _, event = engine.take_block_events()
    assert event == BlocksStored(Medium.GPU, named["a"], None, tokens[:16])


def test_whole_blocks_of_a_prompt_are_stored_in_one_event() -> None:
    engine = watched()
    run(engine, tokens := prompt(21))
    _, event = engine.take_block_events()
    assert event == BlocksStored(Medium.GPU, names(tokens), None, tokens[:16])


def test_a_block_is_told_when_its_last_token_is_computed() -> None:
    engine = watched(n_batch=8)
    engine.take_block_events()
    engine.add_request(make_request(1, tokens := prompt(20), max_tokens=1))
    seen: list[BlocksStored] = []
    while engine.has_work:
        engine.step()
        seen += stored(engine)
    first, second = seen
    assert (first.hashes, first.parent, first.tokens) == (names(tokens)[:1], None, tokens[:8])
    assert (second.hashes, second.parent) == (names(tokens)[1:], names(tokens)[0])


def test_what_two_slots_hold_is_told_once_and_removed_with_the_last() -> None:
    engine = watched()
    run(engine, prompt(16), slot=0)
    run(engine, [*prompt(16), 7], slot=1)
    engine.take_block_events()
    engine.begin_slot_command(EraseSlot(1, 0))
    assert engine.take_block_events() == []
    engine.begin_slot_command(EraseSlot(2, 1))
    (removed,) = engine.take_block_events()
    assert removed == BlocksRemoved(Medium.GPU, names(prompt(16)))


def test_a_trimmed_tail_is_removed_and_the_new_one_stored() -> None:
    engine = watched(n_slots=1)
    run(engine, old := [*prompt(40), *prompt(24, 3)])
    engine.take_block_events()
    run(engine, new := [*prompt(40), *prompt(24, 4)])
    assert engine.take_block_events() == [
        BlocksStored(Medium.GPU, names(new)[5:], names(new)[4], new[40:]),
        BlocksRemoved(Medium.GPU, names(old)[5:]),
    ]


def test_a_prefix_that_leaves_its_slot_goes_to_host_memory_without_a_gap() -> None:
    engine = watched(n_slots=1, cache_bytes=10_000)
    run(engine, prompt(80))
    engine.take_block_events()
    run(engine, prompt(80, 1))
    events = engine.take_block_events()
    first = [e.medium for e in events if isinstance(e, BlocksStored) and e.tokens[0] == 10]
    assert first == [Medium.CPU]
    assert isinstance(events[-1], BlocksRemoved)
    assert events[-1] == BlocksRemoved(Medium.GPU, names(prompt(80)))


def test_scopes_have_blocks_of_their_own_and_say_whose_they_are() -> None:
    engine = watched()
    run(engine, prompt(16))
    engine.take_block_events()
    run(engine, prompt(16), cache_salt="mine", lora=(("a", 0.5),))
    (event,) = stored(engine)
    assert (event.salt, event.lora) == ("mine", (("a", 0.5),))
    assert event.hashes == names(prompt(16), CacheScope("mine", (("a", 0.5),)))
    assert not set(event.hashes) & set(names(prompt(16)))


def test_an_answer_s_blocks_are_told_when_it_has_ended_because_nobody_finds_them_before() -> None:
    engine = watched()
    engine.take_block_events()
    engine.add_request(make_request(1, prompt(8), max_tokens=30))
    for _ in range(20):
        engine.step()
    assert [event.hashes for event in stored(engine)] == [names(prompt(8))]
    engine.abort(Abort([1]))
    assert [event.parent for event in stored(engine)] == names(prompt(8))


def test_moved_cells_are_not_told() -> None:
    engine = watched(n_ctx_slot=64, n_slots=1, next_token=lambda tokens: 20 + len(tokens) % 3)
    view = BlockView(SIZE)
    engine.add_request(
        make_request(1, prompt(40), max_tokens=60, context_shift=ContextShift(keep=18, discard=10))
    )
    drain(engine, {})
    view.apply(engine.take_block_events())
    assert view.names()[Medium.GPU] == set(names(prompt(18)))


def test_a_memory_that_cant_trim_tells_what_a_checkpoint_gives_back() -> None:
    abilities = CacheAbilities(can_trim=False, can_checkpoint=True)
    engine = watched(abilities=abilities, cache_bytes=100_000, n_batch=16)
    view = BlockView(SIZE)
    tokens = prompt(150)
    engine.add_request(make_request(1, tokens, max_tokens=40))
    while not engine.scheduler.running or not engine.scheduler.running[0].is_decoding:
        engine.step()
    view.apply(engine.take_block_events())
    busy = view.names()[Medium.GPU]
    assert busy == set(names(tokens)[: (150 - 4) // SIZE])  # the last checkpoint: 4 before the end
    while engine.has_work:
        engine.step()
    view.apply(engine.take_block_events())
    assert busy < view.names()[Medium.GPU]


def test_names_are_the_same_in_every_engine() -> None:
    """Pinned: routers may know a replica's blocks from before a new version."""
    assert names(prompt(20)) == [11839442313689302322, 15905476759294778845]


def test_a_failed_step_takes_all_blocks_away() -> None:
    fails = False
    engine = watched(fail_on=lambda chunks: fails, cache_bytes=10_000, n_slots=1)
    view = BlockView(SIZE)
    run(engine, prompt(80))
    run(engine, prompt(80, 1))
    view.apply(engine.take_block_events())
    assert all(view.names().values())
    fails = True
    run(engine, prompt(30, 2))
    view.apply(engine.take_block_events())
    assert not any(view.names().values())
