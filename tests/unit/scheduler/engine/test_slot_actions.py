"""Slots that are saved, restored and erased between steps."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from protocol.commands import AddRequest, EraseSlot, RestoreSlot, SaveSlot, SlotCommand
from protocol.events import FinishReason
from protocol.messages import SlotChanged, SlotRefusal, SlotRefused
from scheduler.core.abilities import CacheAbilities
from scheduler.core.cache_scope import NO_SCOPE
from scheduler.engine.engine import Engine
from scheduler.storage.fingerprint import Fingerprint
from scheduler.storage.prefix_file import SavedPrefix, write_prefix
from tests.support.fake_backend import FakeBackend
from tests.support.scheduling import (
    CountingBackend,
    Outcomes,
    alone,
    check_idle,
    check_integrity,
    collect,
    drain,
    make_engine,
    make_request,
    prompt,
    run,
)

PROMPT = prompt(100)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "slot")


def reply_to(engine: Engine, command: SlotCommand) -> SlotChanged | SlotRefused:
    """Carry out one command."""
    engine.begin_slot_command(command)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for reply in engine.take_replies():
            assert reply.query_id == command.query_id
            assert not engine.awaits_files
            return reply
        time.sleep(0.001)
    raise AssertionError("no reply")


def refusal(engine: Engine, command: SlotCommand) -> SlotRefusal:
    reply = reply_to(engine, command)
    assert isinstance(reply, SlotRefused)
    return reply.reason


def test_a_checkpoint_is_no_content_of_a_slot(path: str) -> None:
    backend = FakeBackend()
    engine = make_engine(backend)
    saved = SavedPrefix(PROMPT, NO_SCOPE, b"", is_checkpoint=True)
    write_prefix(Path(path), saved, backend.fingerprint)
    assert refusal(engine, RestoreSlot(1, 0, path)) is SlotRefusal.BAD_FILE
    check_idle(engine, backend)


def changed(engine: Engine, command: SlotCommand) -> int:
    reply = reply_to(engine, command)
    assert isinstance(reply, SlotChanged), reply
    return reply.num_tokens


def engine_with(path: str, **fields: Any) -> tuple[Engine, FakeBackend]:
    """A new engine that has had `PROMPT` in slot 0, and saved it."""
    backend = FakeBackend(**fields)
    engine = make_engine(backend)
    run(engine, make_request(1, PROMPT, max_tokens=5, slot=0))
    assert changed(engine, SaveSlot(9, 0, path)) == 104
    return engine, backend


def first_step(engine: Engine, request: AddRequest) -> Outcomes:
    """Begin a request."""
    engine.add_request(request)
    outcomes: Outcomes = {}
    collect(outcomes, engine.step().outputs())
    return outcomes


def test_what_was_saved_can_be_gone_on_with_in_any_slot_of_another_engine(path: str) -> None:
    engine_with(path)
    backend = FakeBackend()
    engine = make_engine(backend)
    reply = reply_to(engine, RestoreSlot(1, 2, path))
    assert isinstance(reply, SlotChanged)
    assert (reply.num_tokens, reply.num_bytes) == (104, Path(path).stat().st_size)
    assert reply.seconds > 0
    request = make_request(2, [*PROMPT, 77], max_tokens=10)
    outcome = run(engine, request)[2]
    assert outcome.num_cached == 100
    assert outcome.answer == alone(request, backend).answer
    check_idle(engine, backend)


@pytest.mark.parametrize("cache_bytes", [5000, 0])
def test_a_file_holds_the_checkpoints_of_a_memory_that_needs_them(
    path: str, cache_bytes: int
) -> None:
    abilities = CacheAbilities(can_trim=False, can_checkpoint=True)
    engine = make_engine(FakeBackend(abilities=abilities), cache_bytes=5000)
    run(engine, make_request(1, PROMPT, max_tokens=5, slot=0, partings=(40, 70)))
    run(engine, make_request(2, prompt(90, 3), max_tokens=5, slot=1))
    assert changed(engine, SaveSlot(9, 0, path)) == 104

    backend = FakeBackend(abilities=abilities)
    engine = make_engine(backend, cache_bytes=cache_bytes)
    assert changed(engine, RestoreSlot(1, 2, path)) == 104
    request = make_request(2, [*PROMPT[:75], 77], max_tokens=10)
    outcome = run(engine, request)[2]
    assert outcome.num_cached == (70 if cache_bytes else 0)
    assert outcome.answer == alone(request, backend).answer
    check_idle(engine, backend)
    engine.close()


@pytest.mark.parametrize("scope", [{"cache_salt": "a"}, {"lora": (("a", 0.5),)}])
def test_a_restored_slot_keeps_its_scope(path: str, scope: dict[str, Any]) -> None:
    engine = make_engine(FakeBackend())
    run(engine, make_request(1, PROMPT, max_tokens=1, slot=0, **scope))
    changed(engine, SaveSlot(1, 0, path))
    other = make_engine(FakeBackend())
    changed(other, RestoreSlot(1, 0, path))
    assert run(other, make_request(2, PROMPT))[2].num_cached == 0
    changed(other, RestoreSlot(1, 0, path))
    assert run(other, make_request(3, PROMPT, **scope))[3].num_cached == 99


def test_what_the_slot_held_goes_to_host_memory(path: str) -> None:
    engine_with(path)
    backend = FakeBackend(n_slots=1)
    engine = make_engine(backend, cache_bytes=1000)
    mine = prompt(80, family=3)
    run(engine, make_request(1, mine, max_tokens=1))
    changed(engine, RestoreSlot(1, 0, path))
    check_integrity(engine, backend)
    assert run(engine, make_request(2, mine))[2].num_cached == 79


def test_restoring_into_one_cache_for_all_makes_idle_slots_give_way(path: str) -> None:
    engine_with(path)
    backend = FakeBackend(n_slots=3, n_ctx=210)
    engine = make_engine(backend)
    for request, family in ((1, 1), (2, 2)):
        run(engine, make_request(request, prompt(90, family), max_tokens=1, slot=family))
    changed(engine, RestoreSlot(1, 0, path))
    assert [len(cells) for cells in backend.cells] == [104, 0, 90]
    check_idle(engine, backend)


def test_running_sequences_do_not_give_way(path: str) -> None:
    engine_with(path)
    backend = FakeBackend(n_slots=2, n_ctx=160)
    engine = make_engine(backend)
    engine.add_request(make_request(1, prompt(70, 1), slot=1, max_tokens=50))
    for _ in range(4):
        engine.step()
    assert refusal(engine, RestoreSlot(1, 0, path)) is SlotRefusal.BUSY
    check_integrity(engine, backend)


def test_erase_forgets_the_slot(path: str) -> None:
    engine, backend = engine_with(path)
    reply = reply_to(engine, EraseSlot(1, 0))
    assert isinstance(reply, SlotChanged)
    assert (reply.num_tokens, reply.num_bytes) == (104, 0)
    assert backend.cells[0] == []
    assert run(engine, make_request(2, PROMPT))[2].num_cached == 0


def test_an_empty_slot_can_be_saved_restored_and_erased(path: str) -> None:
    engine, backend = engine_with(path)
    assert changed(engine, SaveSlot(1, 1, path)) == 0
    assert changed(engine, EraseSlot(1, 1)) == 0
    assert changed(engine, RestoreSlot(1, 0, path)) == 0
    assert backend.cells[0] == []
    check_idle(engine, backend)


@pytest.mark.parametrize("number", [-1, 4, 10**9])
def test_there_must_be_such_a_slot(path: str, number: int) -> None:
    engine, _ = engine_with(path)
    for command in (SaveSlot(1, number, path), RestoreSlot(1, number, path), EraseSlot(1, number)):
        assert refusal(engine, command) is SlotRefusal.NO_SUCH_SLOT


def test_a_busy_slot_is_left_alone(path: str) -> None:
    engine, backend = engine_with(path)
    request = make_request(2, PROMPT, slot=0, max_tokens=10)
    outcomes = first_step(engine, request)
    for command in (SaveSlot(1, 0, path), RestoreSlot(1, 0, path), EraseSlot(1, 0)):
        assert refusal(engine, command) is SlotRefusal.BUSY
    assert drain(engine, outcomes)[2].answer == alone(request, backend).answer


def test_a_slot_that_becomes_busy_while_its_file_is_read_stays_as_it_is(path: str) -> None:
    engine_with(path)
    backend = FakeBackend()
    engine = make_engine(backend)
    engine.begin_slot_command(RestoreSlot(1, 0, path))
    request = make_request(2, prompt(20, 5), slot=0, max_tokens=10)
    outcomes = first_step(engine, request)
    while engine.awaits_files:
        for reply in engine.take_replies():
            assert isinstance(reply, SlotRefused)
            assert reply.reason is SlotRefusal.BUSY
    assert drain(engine, outcomes)[2].answer == alone(request, backend).answer


def test_replies_come_in_the_order_of_the_commands(path: str) -> None:
    engine, _ = engine_with(path)
    engine.begin_slot_command(SaveSlot(1, 0, path + "2"))
    engine.begin_slot_command(RestoreSlot(2, 3, path + "2"))
    replies = []
    while engine.awaits_files:
        replies += engine.take_replies()
    assert [(type(reply), reply.query_id) for reply in replies] == [
        (SlotChanged, 1),
        (SlotChanged, 2),
    ]


@pytest.mark.parametrize("damage", ["missing", "cut", "changed", "foreign", "folder"])
def test_a_bad_file_is_refused_and_nothing_changes(path: str, damage: str) -> None:
    engine, backend = engine_with(path)
    file = Path(path)
    content = bytearray(file.read_bytes())
    file.unlink()
    if damage == "cut":
        file.write_bytes(content[:-1])
    elif damage == "changed":
        content[-100] ^= 1
        file.write_bytes(content)
    elif damage == "foreign":
        file.write_bytes(b"GGUF")
    elif damage == "folder":
        file.mkdir()
    held = [list(cells) for cells in backend.cells]
    assert refusal(engine, RestoreSlot(1, 0, path)) is SlotRefusal.BAD_FILE
    assert backend.cells == held
    check_idle(engine, backend)


def test_a_file_of_another_model_is_refused(path: str) -> None:
    engine_with(path, fingerprint=Fingerprint(model="other", build="fake", context="fake"))
    engine = make_engine(FakeBackend())
    reply = reply_to(engine, RestoreSlot(1, 0, path))
    assert isinstance(reply, SlotRefused)
    assert reply.message == "slot 0 can't be restored from the file: it is of another model"


def test_a_file_that_can_not_be_written(path: str) -> None:
    engine, backend = engine_with(path)
    assert refusal(engine, SaveSlot(1, 0, f"{path}/none/a")) is SlotRefusal.FAILED
    check_idle(engine, backend)


@pytest.mark.parametrize("edits_before", range(4))
def test_a_cache_that_breaks_ends_what_is_running_and_nothing_else(
    path: str, edits_before: int
) -> None:
    engine_with(path)
    backend = CountingBackend()
    engine = make_engine(backend)
    outcomes = first_step(engine, make_request(1, prompt(20), slot=1))
    backend.edits_before_failure = edits_before
    reply = reply_to(engine, RestoreSlot(1, 0, path))
    backend.edits_before_failure = -1
    engine.add_request(make_request(2, PROMPT, max_tokens=3))
    drain(engine, outcomes)
    if edits_before < 3:  # to empty the slot, to restore, to drop the copy
        assert isinstance(reply, SlotRefused)
        assert reply.reason is SlotRefusal.FAILED
        assert outcomes[1].reasons == [FinishReason.FAILED]
    assert outcomes[2].reasons == [FinishReason.MAX_TOKENS]
    check_idle(engine, backend)


def test_llama_cpps_format_goes_to_a_file_and_back(path: str) -> None:
    engine, _ = engine_with(path)
    assert changed(engine, SaveSlot(1, 0, path, for_llama_cpp=True)) == 104
    other = make_engine(FakeBackend())
    assert changed(other, RestoreSlot(2, 1, path)) == 104
    assert other.scheduler.cache.slots[1].num_tokens == 104


@pytest.mark.parametrize("fields", [{"cache_salt": "s"}, {"lora": (("digest", 1.0),)}])
def test_llama_cpps_format_has_no_place_for_a_scope(path: str, fields: dict[str, Any]) -> None:
    engine = make_engine(FakeBackend(adapters=("digest",)))
    run(engine, make_request(1, PROMPT, slot=0, **fields))
    command = SaveSlot(1, 0, path, for_llama_cpp=True)
    assert refusal(engine, command) is SlotRefusal.BAD_FILE
    assert not Path(path).exists()


def engine_of(owner: str, path: str, *, for_llama_cpp: bool = False) -> None:
    """Have a new engine save `PROMPT`, which was computed with the salt `owner`."""
    engine = make_engine(FakeBackend())
    run(engine, make_request(1, PROMPT, max_tokens=1, slot=0, cache_salt=owner))
    salt = owner if for_llama_cpp else ""
    changed(engine, SaveSlot(1, 0, path, for_llama_cpp, salt))


@pytest.mark.parametrize("for_llama_cpp", [False, True])
@pytest.mark.parametrize("asks", ["", "a", "\0b"])
def test_content_without_an_owner_becomes_that_of_whoever_restores_it(
    path: str, asks: str, for_llama_cpp: bool
) -> None:
    engine_of("", path, for_llama_cpp=for_llama_cpp)
    other = make_engine(FakeBackend())
    changed(other, RestoreSlot(1, 0, path, asks))
    for salt, cached in (("c", 0), (asks, 99)):
        slot = 1 if salt == "c" else None
        outcome = run(other, make_request(2, PROMPT, cache_salt=salt, max_tokens=1, slot=slot))[2]
        assert outcome.num_cached == cached


@pytest.mark.parametrize("asks", ["", "b", "\0a", "a "])
def test_restoring_a_file_gives_nobody_anothers_prefix(path: str, asks: str) -> None:
    engine_of("a", path)
    other = make_engine(FakeBackend())
    changed(other, RestoreSlot(1, 0, path, asks))
    theirs = make_request(2, PROMPT, cache_salt=asks, max_tokens=1, slot=1)
    assert run(other, theirs)[2].num_cached == 0
    assert run(other, make_request(3, PROMPT, cache_salt="a", max_tokens=1))[3].num_cached == 99


@pytest.mark.parametrize("asks", ["", "b", "\0a", "a "])
def test_llama_cpps_format_takes_the_askers_own_prefix_alone(path: str, asks: str) -> None:
    engine = make_engine(FakeBackend())
    run(engine, make_request(1, PROMPT, max_tokens=1, slot=0, cache_salt="a"))
    assert refusal(engine, SaveSlot(1, 0, path, True, asks)) is SlotRefusal.BAD_FILE
    assert not Path(path).exists()
    assert changed(engine, SaveSlot(1, 0, path, True, "a")) == 100


@pytest.mark.parametrize("change", [-4, 4])
def test_cells_that_do_not_fit_the_tokens_leave_an_empty_slot(path: str, change: int) -> None:
    engine, backend = engine_with(path)
    changed(engine, SaveSlot(1, 0, path, for_llama_cpp=True))
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[:change] if change < 0 else data + data[:change])
    assert refusal(engine, RestoreSlot(2, 1, path)) is SlotRefusal.BAD_FILE
    assert engine.scheduler.cache.slots[1].num_tokens == 0
    check_idle(engine, backend)
