"""Real cells as files: the same logits after loading, in every layout that fits."""

from __future__ import annotations

import ctypes
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_cpp import llama_cpp

from protocol.commands import EraseSlot, RestoreSlot, SaveSlot, SlotCommand
from protocol.events import Generated, Started
from protocol.messages import SlotChanged, SlotRefusal, SlotRefused
from protocol.sampling import SamplingParams
from scheduler.backends.llama.backend import LlamaBackend
from scheduler.core.cache_edits import Restore, Save
from scheduler.core.cache_scope import NO_SCOPE
from scheduler.core.host_memory import HostMemory
from scheduler.engine.engine import Engine
from scheduler.storage.disk_cache import DiskCache
from scheduler.storage.prefix_file import PrefixFileError, SavedPrefix, read_prefix, write_prefix
from tests.support.backends import TARGET, compute, make_backend, text_tokens
from tests.support.paths import DEMO_DRAFT
from tests.support.requests import add_request

LAYOUTS: dict[str, dict[str, Any]] = {
    "partitioned": {"flash_attn": "on"},
    "partitioned without flash attention": {"flash_attn": "off"},
    "unified": {"kv_unified": True, "flash_attn": "on"},
    "unified without flash attention": {"kv_unified": True, "flash_attn": "off"},
    "q8_0": {"cache_type_k": "q8_0", "cache_type_v": "q8_0", "flash_attn": "on"},
}
TOKENS = text_tokens(120)
ROOM = 1 << 30


@pytest.mark.parametrize("layout", LAYOUTS)
def test_logits_after_a_file_are_those_before(layout: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    backend = make_backend(**LAYOUTS[layout])
    compute(backend, TOKENS, 0, 0, 100)
    backend.edit(Save(0, 7))
    write_prefix(path, SavedPrefix(TOKENS[:100], NO_SCOPE, backend.state(7)), backend.fingerprint)
    expected = compute(backend, TOKENS, 0, 100)
    backend.close()
    other = make_backend(**LAYOUTS[layout])
    prefix, _ = read_prefix(path, other.fingerprint, max_bytes=ROOM)
    assert prefix.tokens == TOKENS[:100]
    other.put_state(3, prefix.state)
    other.edit(Restore(3, 0, 100))
    np.testing.assert_array_equal(compute(other, TOKENS, 0, 100), expected)
    other.close()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cache_type_k": "q8_0"}, "of another context"),
        ({"kv_unified": True}, "of another context"),
        ({"flash_attn": "on"}, "of another context"),
        ({"n_ctx": 2048}, "of another context"),
        ({"rope_freq_base": 5000.0}, "of another context"),
        ({"model_path": str(DEMO_DRAFT)}, "of another model"),
    ],
)
def test_cells_of_elsewhere_are_refused(fields: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    backend = make_backend(flash_attn="off")
    write_prefix(path, SavedPrefix(TOKENS, NO_SCOPE, b"state"), backend.fingerprint)
    backend.close()
    other = make_backend(**{"flash_attn": "off", **fields})
    with pytest.raises(PrefixFileError, match=words):
        read_prefix(path, other.fingerprint, max_bytes=ROOM)
    other.close()


def test_cells_that_are_rotated_otherwise_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    backend = make_backend(cache_type_k="q8_0")
    write_prefix(path, SavedPrefix(TOKENS, NO_SCOPE, b"state"), backend.fingerprint)
    backend.close()
    monkeypatch.setenv("LLAMA_ATTN_ROT_DISABLE", "1")
    other = make_backend(cache_type_k="q8_0")
    with pytest.raises(PrefixFileError, match="of another context"):
        read_prefix(path, other.fingerprint, max_bytes=ROOM)
    other.close()


def test_a_model_that_was_replaced_after_loading_has_no_fingerprint(tmp_path: Path) -> None:
    model, newer = tmp_path / "model.gguf", tmp_path / "newer.gguf"
    shutil.copy(TARGET, model)
    shutil.copy(DEMO_DRAFT, newer)
    backend = make_backend(model_path=str(model))
    newer.replace(model)
    with pytest.raises(OSError, match="has changed since it was loaded"):
        _ = backend.fingerprint
    backend.close()


class TestEngine:
    """An engine on the real backend."""

    @pytest.fixture
    def engine(self, tmp_path: Path) -> Iterator[Engine]:
        engine = start(tmp_path)
        yield engine
        engine.close()

    def test_an_answer_goes_on_from_a_restored_slot(self, engine: Engine, tmp_path: Path) -> None:
        path = str(tmp_path / "slot")
        cold, cached = answer(engine, 1, TOKENS, slot=0)
        assert cached == 0
        saved = act(engine, SaveSlot(1, 0, path))
        assert saved.num_bytes == Path(path).stat().st_size
        restored = act(engine, RestoreSlot(2, 3, path))
        assert (restored.num_tokens, restored.num_bytes) == (saved.num_tokens, saved.num_bytes)
        assert answer(engine, 2, TOKENS, slot=3) == (cold, len(TOKENS) - 1)

    def test_a_new_engine_begins_warm(self, tmp_path: Path) -> None:
        first = start(tmp_path)
        cold, _ = answer(first, 1, TOKENS)
        assert first.disk is not None
        first.disk.save(5.0)
        first.close()
        second = start(tmp_path)
        assert answer(second, 1, TOKENS) == (cold, len(TOKENS) - 1)
        second.close()


def start(folder: Path, **fields: Any) -> Engine:
    """An engine that has loaded the folder's content.

    With flash attention, a row of a long chunk is computed differently from a single row, so a tie
    may end differently.
    """
    backend = make_backend(flash_attn="off", **fields)
    engine = Engine(
        backend,
        time.monotonic,
        itl_target=0.1,
        host_memory=HostMemory(1 << 26),
        open_disk=lambda: DiskCache(folder / "cache", 1 << 26, backend.fingerprint),
    )
    assert engine.disk is not None
    engine.disk.start(20.0)
    return engine


def answer(
    engine: Engine, request_id: int, tokens: list[int], **fields: Any
) -> tuple[list[int], int]:
    """Sixteen tokens at temperature 0, and the number of cached prompt tokens."""
    sampling = SamplingParams(temperature=0.0)
    engine.add_request(
        add_request(
            request_id=request_id, prompt=tokens, sampling=sampling, max_tokens=16, **fields
        )
    )
    generated: list[int] = []
    cached = -1
    while engine.has_work:
        for event in engine.step().outputs().events:
            if isinstance(event, Generated):
                generated += event.tokens
            elif isinstance(event, Started):
                cached = event.num_cached_tokens
    return generated, cached


def reply_to(engine: Engine, command: SlotCommand) -> SlotChanged | SlotRefused:
    engine.begin_slot_command(command)
    while True:
        for reply in engine.take_replies():
            return reply


def act(engine: Engine, command: SlotCommand) -> SlotChanged:
    """Run a command that can't be refused."""
    reply = reply_to(engine, command)
    assert isinstance(reply, SlotChanged), reply
    return reply


def refusal(engine: Engine, command: SlotCommand) -> SlotRefusal:
    """Run a command that must be refused."""
    reply = reply_to(engine, command)
    assert isinstance(reply, SlotRefused)
    return reply.reason


class TestLlamaFile:
    """Files in llama.cpp's own format."""

    @pytest.fixture
    def engine(self, tmp_path: Path) -> Iterator[Engine]:
        engine = start(tmp_path)
        yield engine
        engine.close()

    @pytest.mark.parametrize("length", [1, 5, 100])
    def test_what_llama_cpp_wrote_is_restored(
        self, engine: Engine, tmp_path: Path, length: int
    ) -> None:
        tokens = TOKENS[:length]
        path = tmp_path / "slot"
        cold, _ = answer(engine, 1, tokens, slot=0)
        held = engine.scheduler.cache.slots[0]
        saved = held.tokens[: held.num_tokens]
        words = (ctypes.c_int32 * len(saved))(*saved)
        backend = engine._backend
        assert isinstance(backend, LlamaBackend)
        llama_cpp.llama_state_seq_save_file(
            backend.context._context, str(path).encode(), 0, words, len(saved)
        )
        act(engine, EraseSlot(1, 0))
        restored = act(engine, RestoreSlot(2, 3, str(path)))
        assert (restored.num_tokens, restored.num_bytes) == (len(saved), path.stat().st_size)
        assert answer(engine, 2, tokens, slot=3) == (cold, length - 1)

    @pytest.mark.parametrize("length", [1, 5, 100])
    def test_what_is_exported_llama_cpp_reads(
        self, engine: Engine, tmp_path: Path, length: int
    ) -> None:
        tokens = TOKENS[:length]
        path = tmp_path / "slot"
        cold, _ = answer(engine, 1, tokens, slot=0)
        saved = act(engine, SaveSlot(1, 0, str(path), for_llama_cpp=True))
        held = engine.scheduler.cache.slots[0]
        assert saved.num_bytes == path.stat().st_size
        words, count = (ctypes.c_int32 * 1000)(), ctypes.c_size_t()
        backend = engine._backend
        assert isinstance(backend, LlamaBackend)
        read = llama_cpp.llama_state_seq_load_file(
            backend.context._context, str(path).encode(), 2, words, 1000, ctypes.byref(count)
        )
        assert read == saved.num_bytes
        packed = words[: count.value]
        assert packed == [-1, 1, held.num_tokens, *held.tokens[: held.num_tokens], 0]
        act(engine, EraseSlot(1, 0))
        act(engine, RestoreSlot(2, 3, str(path)))
        assert answer(engine, 2, tokens, slot=3) == (cold, length - 1)

    @pytest.mark.parametrize(
        "damage",
        [
            lambda data: data[:100],
            lambda data: data[:-1],
            lambda data: data + b"more",
            lambda data: data[:4] + b"\x09" + data[5:],
            lambda data: data[:20] + b"\xff\xff\xff\x7f" + data[24:],
            lambda data: data[:24] + b"\xff\xff\xff\x7f" + data[28:],
            lambda data: data[:20] + (3).to_bytes(4, "little") + data[24:],
            lambda data: data[:8] + b"\xff\xff\xff\xff" + data[12:],
            lambda data: data[:12],
            lambda data: data[:4],
        ],
    )
    def test_a_damaged_file_is_refused_and_nothing_else_suffers(
        self, engine: Engine, tmp_path: Path, damage: Callable[[bytes], bytes]
    ) -> None:
        path = tmp_path / "slot"
        cold, _ = answer(engine, 1, TOKENS, slot=0)
        act(engine, SaveSlot(1, 0, str(path), for_llama_cpp=True))
        path.write_bytes(damage(path.read_bytes()))
        assert refusal(engine, RestoreSlot(2, 3, str(path))) is SlotRefusal.BAD_FILE
        assert engine.scheduler.cache.slots[3].num_tokens == 0
        assert answer(engine, 2, TOKENS, slot=0) == (cold, len(TOKENS) - 1)
        assert answer(engine, 3, TOKENS, slot=3)[0] == cold

    def test_an_empty_slot_goes_to_a_file_and_back(self, engine: Engine, tmp_path: Path) -> None:
        path = str(tmp_path / "slot")
        assert act(engine, SaveSlot(1, 0, path, for_llama_cpp=True)).num_tokens == 0
        assert act(engine, RestoreSlot(2, 0, path)).num_tokens == 0

    @pytest.mark.parametrize("fields", [{"cache_type_k": "q8_0"}, {"kv_unified": True}])
    def test_cells_of_another_layout_are_refused(
        self, engine: Engine, tmp_path: Path, fields: dict[str, Any]
    ) -> None:
        path = str(tmp_path / "slot")
        answer(engine, 1, TOKENS, slot=0)
        act(engine, SaveSlot(1, 0, path, for_llama_cpp=True))
        other = start(tmp_path, **fields)
        assert refusal(other, RestoreSlot(2, 3, path)) is SlotRefusal.BAD_FILE
        other.close()
