"""Prefixes on disk: written when the engine ends, read when it starts."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue

from scheduler.backends.base import TRANSFER, Backend, DecodeError
from scheduler.core.cache_edits import Drop, Save
from scheduler.core.cache_scope import CacheScope
from scheduler.core.sequence import Slot
from scheduler.kv_cache.cache_manager import KVCacheManager
from scheduler.kv_cache.host_cache import CachedPrefix, Checkpoint
from scheduler.kv_cache.placement import CacheHolder, PrefixHolder
from scheduler.storage.disk_cache import DiskCache
from scheduler.storage.prefix_file import PrefixFileError, SavedPrefix

ASSUMED_RATE = 200e6
"""Bytes a second that a disk is assumed to write, until the first file is written."""

logger = logging.getLogger(__name__)


class _WriteTime:
    """Tells how much can still be written within a number of seconds."""

    def __init__(self, clock: Callable[[], float], seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._begin = clock()
        self._written = 0

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._begin

    def allows(self, size: int) -> bool:
        """Whether `size` more bytes are likely to be written in time."""
        elapsed = self.elapsed
        rate = self._written / elapsed if self._written else ASSUMED_RATE
        return elapsed + size / rate <= self._seconds

    def count(self, size: int) -> None:
        """Note that `size` bytes were written."""
        self._written += size


class DiskTier:
    """Moves prefixes between the host cache and a folder.

    A thread reads and checks the files. Between steps, the engine's own thread adopts what was
    read.
    """

    def __init__(
        self,
        open_disk_cache: Callable[[], DiskCache],
        kv_cache: KVCacheManager,
        backend: Backend,
        clock: Callable[[], float],
    ) -> None:
        """`open_disk_cache` is called in the thread, because a fingerprint takes time to make."""
        self._open_disk_cache = open_disk_cache
        self._kv_cache = kv_cache
        self._backend = backend
        self._clock = clock
        self._disk_cache: DiskCache | None = None
        self._loaded: SimpleQueue[SavedPrefix] = SimpleQueue()
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._load, name="load prefixes", daemon=True)

    @property
    def is_loading(self) -> bool:
        """Whether `adopt_loaded` has, or may still get, something to do."""
        return self._thread.is_alive() or not self._loaded.empty()

    def start(self, patience: float) -> None:
        """Begin to load, and wait for at most `patience` seconds until everything is loaded."""
        self._thread.start()
        self._thread.join(patience)
        self.adopt_loaded()

    def adopt_loaded(self) -> None:
        """Put what was read meanwhile into the host cache, as the least recently used prefixes."""
        while True:
            try:
                loaded = self._loaded.get_nowait()
            except Empty:
                return
            adopt = self._kv_cache.adopt
            if loaded.is_checkpoint:
                adopt = self._kv_cache.checkpoints.adopt
            entry = adopt(loaded.tokens, loaded.scope)
            if entry is not None:
                self._backend.put_state(entry.id, loaded.state)

    def save(self, seconds: float) -> None:
        """Write the most useful prefixes that fit into the folder, for about `seconds`."""
        write_time = _WriteTime(self._clock, seconds)
        self._is_stopping.set()
        self._thread.join(seconds)
        if self._disk_cache is None:
            return
        count = self._save_hottest(self._disk_cache, write_time)
        self._trim(self._disk_cache)
        folder = self._disk_cache.folder
        logger.info("saved %d prefixes to %s in %.2f s", count, folder, write_time.elapsed)

    def _save_hottest(self, cache: DiskCache, write_time: _WriteTime) -> int:
        """Write prefixes until a write fails or would take too long.

        Returns how many are saved. Prefixes that the folder had already are included.
        """
        sizes, room, now, count = self._kv_cache.limits.sizes, cache.capacity, time.time(), 0
        for rank, holder in enumerate(self._hottest()):
            is_checkpoint = isinstance(holder, Checkpoint)
            size = (sizes.checkpoint if is_checkpoint else sizes.prefix)(holder.num_tokens)
            if size > room:
                continue
            if not cache.touch(*_content(holder), now - rank, is_checkpoint=is_checkpoint):
                if not (write_time.allows(size) and self._store(cache, holder, now - rank)):
                    break
                write_time.count(size)
            room -= size
            count += 1
        return count

    def _load(self) -> None:
        begin = self._clock()
        try:
            self._disk_cache = self._open_disk_cache()
        except OSError as error:
            logger.warning("prefixes are not kept on disk: %s", error)
            return
        count = tokens = 0
        for prefix in self._disk_cache.load(self._kv_cache.limits.cache_bytes):
            if self._is_stopping.is_set():
                return
            self._loaded.put(prefix)
            count += 1
            tokens += len(prefix.tokens)
        took = self._clock() - begin
        folder = self._disk_cache.folder
        logger.info("loaded %d prefixes, %d tokens, from %s in %.2f s", count, tokens, folder, took)

    def _trim(self, cache: DiskCache) -> None:
        try:
            cache.trim()
        except OSError as error:
            logger.warning("old prefixes stay in %s: %s", cache.folder, error)

    def _hottest(self) -> Iterator[CacheHolder]:
        """What is worth a file: prefixes, each with the checkpoints that go with its cells."""
        chosen: set[CacheHolder] = set()
        for prefix in self._hottest_prefixes():
            yield prefix
            for entry in reversed(self._kv_cache.checkpoints.within(*_content(prefix))):
                if isinstance(entry, Checkpoint) and entry not in chosen:
                    chosen.add(entry)
                    yield entry

    def _hottest_prefixes(self) -> Iterator[PrefixHolder]:
        """Idle slots and prefixes in host memory that are worth a file: the latest slots first,
        then the latest prefixes. A prefix that another one contains is left out."""
        kv_cache = self._kv_cache
        slots = sorted(kv_cache.slots, key=lambda slot: slot.last_used, reverse=True)
        idle = [slot for slot in slots if slot.is_idle and slot.shifted_from is None]
        chosen: set[PrefixHolder] = set()
        saved = [entry for entry in kv_cache.host_cache if isinstance(entry, CachedPrefix)]
        candidates: list[PrefixHolder] = [*idle, *reversed(saved)]
        for holder in candidates:
            tokens, scope = _content(holder)
            shared = kv_cache.index.shared(tokens, scope)
            can_trim = kv_cache.limits.abilities.can_trim
            is_contained = any(
                shared.get(other) == len(tokens) and (can_trim or other.num_tokens == len(tokens))
                for other in chosen
            )
            if kv_cache.host_cache.wants(len(tokens)) and not is_contained:
                chosen.add(holder)
                yield holder

    def _store(self, cache: DiskCache, holder: CacheHolder, used: float) -> bool:
        """Write a prefix or a checkpoint. Returns False if that failed, as it then would for the
        others too."""
        tokens, scope = _content(holder)
        try:
            if not isinstance(holder, Slot):
                state = self._backend.state(holder.id)
                is_checkpoint = isinstance(holder, Checkpoint)
                saved = SavedPrefix(tokens, scope, state, is_checkpoint=is_checkpoint)
                cache.store(saved, used)
            else:
                self._backend.edit(Save(holder.id, TRANSFER))
                state = self._backend.state(TRANSFER)
                self._backend.edit(Drop(TRANSFER))
                cache.store(SavedPrefix(tokens, scope, state), used)
        except (PrefixFileError, DecodeError) as error:
            logger.warning("prefixes are not saved to %s: %s", cache.folder, error)
            return False
        return True


def _content(holder: CacheHolder) -> tuple[list[int], CacheScope]:
    tokens = holder.reusable_tokens if isinstance(holder, Slot) else holder.tokens
    return tokens, holder.scope
