"""Saving, restoring and erasing of single slots, for clients that ask for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from protocol.commands import EraseSlot, RestoreSlot, SaveSlot, SlotCommand
from protocol.messages import SlotChanged, SlotRefusal, SlotRefused
from scheduler.backends.base import TRANSFER, Backend, DecodeError
from scheduler.core.cache_edits import CacheEdit, Drop, Restore, Save
from scheduler.core.cache_scope import CacheScope
from scheduler.core.sequence import Slot
from scheduler.kv_cache.cache_manager import KVCacheManager
from scheduler.storage.llama_file import is_llama_file, read_llama_file, write_llama_file
from scheduler.storage.prefix_file import PrefixFileError, SavedPrefix, read_prefix, write_prefix

logger = logging.getLogger(__name__)

SLACK_BYTES = 64 << 20
"""Bytes that a file may have beyond twice the size of a full slot's cells and checkpoints."""

SlotReply = SlotChanged | SlotRefused


class _Refused(Exception):
    """A command can't be carried out. Nothing has changed, unless the reason is `FAILED`."""

    def __init__(self, reason: SlotRefusal, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _FileJob:
    """A command whose file is being read or written."""

    command: SlotCommand
    begin: float
    file: Future[tuple[SavedPrefix, int]]


class SlotActions:
    """Carries out slot commands between steps.

    The engine's own thread reads and changes slots, which takes about as long as copying the bytes.
    Another thread checks, reads and writes files, in the order of the commands. If a sequence takes
    the slot while its file is read, the command is refused.
    """

    def __init__(
        self,
        kv_cache: KVCacheManager,
        backend: Backend,
        edit: Callable[[Iterable[CacheEdit]], None],
        clock: Callable[[], float],
    ) -> None:
        """`edit` changes the cache. It raises `DecodeError` after ending what is running."""
        self._kv_cache = kv_cache
        self._backend = backend
        self._edit = edit
        self._clock = clock
        self._files = ThreadPoolExecutor(1, thread_name_prefix="slot files")
        self._jobs: list[_FileJob] = []
        self._replies: list[SlotReply] = []

    @property
    def are_pending(self) -> bool:
        """Whether a reply is still to come."""
        return bool(self._jobs or self._replies)

    def begin(self, command: SlotCommand) -> None:
        """Carry out a command, or the part of it before its file is ready."""
        begin = self._clock()
        try:
            slot = self._idle_slot(command.slot)
            match command:
                case EraseSlot():
                    self._erase(command, slot, begin)
                case SaveSlot(path=path, for_llama_cpp=True, cache_salt=salt):
                    content = self._portable_content(slot, salt)
                    self._submit(command, begin, partial(self._export, Path(path), content))
                case SaveSlot(path=path):
                    content = self._content(slot)
                    self._submit(command, begin, partial(self._write, Path(path), content))
                case RestoreSlot(path=path):
                    self._submit(command, begin, partial(self._read, Path(path)))
        except _Refused as refused:
            self._refuse(command, refused)

    def take_replies(self) -> list[SlotReply]:
        """Finish the commands whose file is ready; returns the replies not taken before."""
        while self._jobs and self._jobs[0].file.done():
            job = self._jobs.pop(0)
            try:
                self._finish(job)
            except _Refused as refused:
                self._refuse(job.command, refused)
        replies, self._replies = self._replies, []
        return replies

    def close(self) -> None:
        """Wait for the file that is being read or written; other commands are dropped."""
        self._files.shutdown(cancel_futures=True)

    def _submit(
        self, command: SlotCommand, begin: float, job: Callable[[], tuple[SavedPrefix, int]]
    ) -> None:
        """Have a file read or written in the other thread."""
        self._jobs.append(_FileJob(command, begin, self._files.submit(job)))

    def _idle_slot(self, number: int) -> Slot:
        if not 0 <= number < len(self._kv_cache.slots):
            raise _Refused(SlotRefusal.NO_SUCH_SLOT, f"there is no slot {number}")
        slot = self._kv_cache.slots[number]
        if not slot.is_idle:
            raise _Refused(
                SlotRefusal.BUSY, f"slot {number} is answering a request; try again when it is idle"
            )
        return slot

    def _erase(self, command: EraseSlot, slot: Slot, begin: float) -> None:
        count = slot.num_tokens
        self._change(self._kv_cache.erase(slot))
        self._done(command, count, 0, begin)

    def _content(self, slot: Slot) -> SavedPrefix:
        tokens = list(slot.reusable_tokens)
        if not tokens:
            return SavedPrefix([], slot.scope, b"")
        self._change([Save(slot.id, TRANSFER)])
        state = self._backend.state(TRANSFER)
        self._change([Drop(TRANSFER)])
        checkpoints = tuple(
            (entry.num_tokens, self._backend.state(entry.id))
            for entry in self._kv_cache.checkpoints.within(tokens, slot.scope)
        )
        return SavedPrefix(tokens, slot.scope, state, checkpoints=checkpoints)

    def _portable_content(self, slot: Slot, salt: str) -> SavedPrefix:
        """What a slot holds, for a file of llama.cpp, which has no place for a salt, adapters or
        moved cells. The salt of who asks may be left out: what such a file holds is the content of
        whoever restores it."""
        is_other = slot.num_tokens > 0 and slot.scope != CacheScope(salt)
        if is_other or slot.shifted_from is not None:
            raise _Refused(
                SlotRefusal.BAD_FILE,
                f"slot {slot.id} can't be saved in llama.cpp's format: the format has no place for "
                "another API key's prefix, for a salt, for adapters, or for cells that a context "
                "shift moved",
            )
        self._change([Save(slot.id, TRANSFER)])
        state = self._backend.portable(self._backend.state(TRANSFER))
        self._change([Drop(TRANSFER)])
        return SavedPrefix(list(slot.reusable_tokens), slot.scope, state)

    def _finish(self, job: _FileJob) -> None:
        command = job.command
        try:
            prefix, size = job.file.result()
        except (PrefixFileError, OSError) as error:
            is_restore = isinstance(command, RestoreSlot)
            reason = SlotRefusal.BAD_FILE if is_restore else SlotRefusal.FAILED
            verb = "restored from" if is_restore else "saved to"
            raise _Refused(
                reason, f"slot {command.slot} can't be {verb} the file: {error}"
            ) from None
        if isinstance(command, RestoreSlot):
            self._fill(self._idle_slot(command.slot), prefix, command.cache_salt)
        self._done(command, len(prefix.tokens), size, job.begin)

    def _fill(self, slot: Slot, prefix: SavedPrefix, salt: str) -> None:
        count = len(prefix.tokens)
        if not self._kv_cache.has_room(count):
            raise _Refused(
                SlotRefusal.BUSY,
                f"running requests leave no room for the {count} tokens of the file",
            )
        if prefix.is_portable:
            self._check_tokens(slot, prefix.tokens)
        self._change(self._kv_cache.make_room(slot, count))
        if not count:
            return
        if prefix.is_portable:
            self._adopt(slot, prefix)
        else:
            self._backend.put_state(TRANSFER, prefix.state)
            self._change([Restore(TRANSFER, slot.id, count), Drop(TRANSFER)])
        scope = prefix.scope if prefix.scope.salt else prefix.scope._replace(salt=salt)
        self._kv_cache.fill(slot, prefix.tokens, scope)
        for length, state in reversed(prefix.checkpoints):
            entry = self._kv_cache.checkpoints.adopt(prefix.tokens[:length], scope)
            if entry is not None:
                self._backend.put_state(entry.id, bytearray(state))  # not all of the file

    def _check_tokens(self, slot: Slot, tokens: list[int]) -> None:
        n_vocab = self._backend.info.n_vocab
        if not all(0 <= token < n_vocab for token in tokens):
            raise _Refused(
                SlotRefusal.BAD_FILE,
                f"slot {slot.id} can't be restored from the file: it has tokens that the "
                "vocabulary doesn't have",
            )

    def _adopt(self, slot: Slot, prefix: SavedPrefix) -> None:
        if not self._backend.adopt(slot.id, prefix.state, len(prefix.tokens)):
            raise _Refused(
                SlotRefusal.BAD_FILE,
                f"slot {slot.id} can't be restored from the file, and is empty now: the file's "
                "cells are of another model, of another --cache-type, --flash-attn, --kv-unified "
                "or --parallel, or damaged",
            )

    def _change(self, edits: Iterable[CacheEdit]) -> None:
        try:
            self._edit(edits)
        except DecodeError as error:
            raise _Refused(SlotRefusal.FAILED, str(error)) from error

    def _done(self, command: SlotCommand, count: int, size: int, begin: float) -> None:
        seconds = self._clock() - begin
        self._replies.append(SlotChanged(command.query_id, count, size, seconds))

    def _refuse(self, command: SlotCommand, refused: _Refused) -> None:
        self._replies.append(SlotRefused(command.query_id, refused.reason, str(refused)))

    # --- in the other thread ---

    def _write(self, path: Path, prefix: SavedPrefix) -> tuple[SavedPrefix, int]:
        return prefix, write_prefix(path, prefix, self._backend.fingerprint)

    def _export(self, path: Path, prefix: SavedPrefix) -> tuple[SavedPrefix, int]:
        return prefix, write_llama_file(path, prefix)

    def _read(self, path: Path) -> tuple[SavedPrefix, int]:
        limits, sizes = self._kv_cache.limits, self._kv_cache.limits.sizes
        # A state is as large as its cells, plus some bytes that describe it.
        checkpoints = limits.max_checkpoints * sizes.checkpoint(limits.n_ctx_slot)
        content = sizes.prefix(limits.n_ctx_slot) + min(checkpoints, limits.cache_bytes)
        room = 2 * content + SLACK_BYTES
        if is_llama_file(path):
            return read_llama_file(path, max_bytes=room)
        prefix, size = read_prefix(path, self._backend.fingerprint, max_bytes=room)
        if prefix.is_checkpoint:
            raise PrefixFileError("it is a checkpoint, without the cells of its tokens")
        return prefix, size
