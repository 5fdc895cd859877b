"""Saving, restoring and emptying single slots, when a client asks for it."""

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
from scheduler.core.sequence import Slot
from scheduler.kv_cache.cache_manager import KVCacheManager
from scheduler.storage.prefix_file import PrefixFileError, SavedPrefix, read_prefix, write_prefix

logger = logging.getLogger(__name__)

SLACK_BYTES = 64 << 20

SlotReply = SlotChanged | SlotRefused


class _Refused(Exception):
    """An action can't be done; nothing has changed."""

    def __init__(self, reason: SlotRefusal, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Work:
    """An action whose file is being read or written."""

    command: SlotCommand
    begin: float
    file: Future[tuple[SavedPrefix, int]]


class SlotActions:
    """Does what clients want done to slots, between steps.

    Slots are looked at and changed by the engine's own thread, which takes about as long as
    copying the bytes; files are checked, read and written by another, in the order of the
    commands. A slot may be taken by a sequence while its file is read: then it stays as it is.
    """

    def __init__(
        self,
        kv_cache: KVCacheManager,
        backend: Backend,
        edit: Callable[[Iterable[CacheEdit]], None],
        clock: Callable[[], float],
    ) -> None:
        """`edit` changes the cache, and raises `DecodeError` once all have been told of it."""
        self._kv_cache = kv_cache
        self._backend = backend
        self._edit = edit
        self._clock = clock
        self._files = ThreadPoolExecutor(1, thread_name_prefix="slot files")
        self._working: list[_Work] = []
        self._replies: list[SlotReply] = []

    @property
    def are_pending(self) -> bool:
        """Whether there is a reply to come."""
        return bool(self._working or self._replies)

    def begin(self, command: SlotCommand) -> None:
        """Do it, or the first part of it."""
        begin = self._clock()
        try:
            slot = self._idle_slot(command.slot)
            if isinstance(command, EraseSlot):
                self._erase(command, slot, begin)
            elif isinstance(command, SaveSlot):
                job = partial(self._write, Path(command.path), self._content(slot))
                self._working.append(_Work(command, begin, self._files.submit(job)))
            else:
                job = partial(self._read, Path(command.path))
                self._working.append(_Work(command, begin, self._files.submit(job)))
        except _Refused as refused:
            self._refuse(command, refused)

    def take_replies(self) -> list[SlotReply]:
        """Finish what can be finished; returns the replies that have not been taken yet."""
        while self._working and self._working[0].file.done():
            work = self._working.pop(0)
            try:
                self._finish(work)
            except _Refused as refused:
                self._refuse(work.command, refused)
        replies, self._replies = self._replies, []
        return replies

    def close(self) -> None:
        """Finish what is being written."""
        self._files.shutdown(cancel_futures=True)

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
        return SavedPrefix(tokens, slot.scope, state)

    def _finish(self, work: _Work) -> None:
        command = work.command
        try:
            prefix, size = work.file.result()
        except (PrefixFileError, OSError) as error:
            is_restore = isinstance(command, RestoreSlot)
            reason = SlotRefusal.BAD_FILE if is_restore else SlotRefusal.FAILED
            verb = "restored from" if is_restore else "saved to"
            raise _Refused(
                reason, f"slot {command.slot} can't be {verb} the file: {error}"
            ) from None
        if isinstance(command, RestoreSlot):
            self._fill(self._idle_slot(command.slot), prefix)
        self._done(command, len(prefix.tokens), size, work.begin)

    def _fill(self, slot: Slot, prefix: SavedPrefix) -> None:
        count = len(prefix.tokens)
        if not self._kv_cache.has_room(count):
            raise _Refused(
                SlotRefusal.BUSY,
                f"running requests leave no room for the {count} tokens of the file",
            )
        self._change(self._kv_cache.make_room(slot, count))
        if count:
            self._backend.put_state(TRANSFER, prefix.state)
            self._change([Restore(TRANSFER, slot.id, count), Drop(TRANSFER)])
            self._kv_cache.fill(slot, prefix.tokens, prefix.scope)

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

    def _read(self, path: Path) -> tuple[SavedPrefix, int]:
        limits = self._kv_cache.limits
        # States are as large as their cells, give or take what they say of themselves.
        room = limits.state_bytes + 2 * limits.n_ctx_slot * limits.cell_bytes + SLACK_BYTES
        return read_prefix(path, self._backend.fingerprint, max_bytes=room)
