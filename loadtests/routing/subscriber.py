"""A subscriber to a replica's KV events, written from the documentation of vLLM's form."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import zmq

REPLAY_SECONDS = 10.0


class BlockStored(msgspec.Struct, tag=True, array_like=True):
    """vLLM's event, with its fields in vLLM's order."""

    block_hashes: list[int]
    parent_block_hash: int | None
    token_ids: list[int]
    block_size: int
    lora_id: int | None = None
    medium: str | None = None
    lora_name: str | None = None
    extra_keys: list[tuple[Any, ...] | None] | None = None


class BlockRemoved(msgspec.Struct, tag=True, array_like=True):
    """vLLM's event, with its fields in vLLM's order."""

    block_hashes: list[int]
    medium: str | None = None


class AllBlocksCleared(msgspec.Struct, tag=True, array_like=True):
    """vLLM's event."""


KVCacheEvent = BlockStored | BlockRemoved | AllBlocksCleared


class KVEventBatch(msgspec.Struct, array_like=True):
    """vLLM's batch, with its fields in vLLM's order."""

    ts: float
    events: list[KVCacheEvent]
    data_parallel_rank: int | None = None


class Subscriber:
    """Follows one replica. What it misses it asks for, if the replica has a replay endpoint."""

    def __init__(
        self,
        endpoint: str,
        replay_endpoint: str | None = None,
        on_event: Callable[[KVCacheEvent], None] = lambda event: None,
        *,
        has_topics: bool = False,
    ) -> None:
        """`has_topics`: the replica has several models, and its answers name the topics."""
        self.endpoint, self.replay_endpoint = endpoint, replay_endpoint
        self.by_topic: dict[str, dict[str, set[int]]] = {}
        """By topic and medium, the names of the blocks. A replica with one model names no topic."""
        self.topic = ""
        self.last = -1
        """The number of the last batch."""
        self.num_replays = 0
        self._on_event = on_event
        self._has_topics = has_topics
        self._decoder = msgspec.msgpack.Decoder(KVEventBatch)
        self._context = zmq.Context()
        self._sub = self._context.socket(zmq.SUB)
        self._sub.rcvhwm = 0
        self._sub.subscribe(b"kv@")
        self._sub.connect(endpoint)

    @property
    def held(self) -> dict[str, set[int]]:
        """By medium, the names of the blocks of a replica with one model."""
        return self.by_topic.setdefault("", {})

    def drain(self) -> None:
        """Take in all that has come."""
        while self._sub.poll(0):
            topic, number, payload = self._sub.recv_multipart()
            self.topic = topic.decode()
            self._take(topic, int.from_bytes(number, "big"), payload)

    def catch_up(self) -> None:
        """Ask for all batches after the last one."""
        self.num_replays += 1
        with self.asking() as asking:
            asking.send_multipart((b"", (self.last + 1).to_bytes(8, "big")))
            deadline = time.monotonic() + REPLAY_SECONDS
            while asking.poll(int(1000 * max(deadline - time.monotonic(), 0))):
                _, *topic, number, payload = asking.recv_multipart()
                if not payload:
                    return
                self._apply(b"".join(topic), int.from_bytes(number, "big"), payload)
        raise TimeoutError("no answer from the replay endpoint")

    def asking(self) -> zmq.Socket[bytes]:
        """A socket for questions to the replay endpoint."""
        assert self.replay_endpoint is not None
        sock = self._context.socket(zmq.DEALER)
        sock.linger = 0
        sock.connect(self.replay_endpoint)
        return sock

    def close(self) -> None:
        """Leave."""
        self._sub.close(linger=0)
        self._context.term()

    def _take(self, topic: bytes, number: int, payload: bytes) -> None:
        if number > self.last + 1 and self.replay_endpoint is not None:
            self.catch_up()
        if number > self.last:
            self._apply(topic, number, payload)

    def _apply(self, topic: bytes, number: int, payload: bytes) -> None:
        if number <= self.last:
            return
        self.last = number
        held = self.by_topic.setdefault(topic.decode() if self._has_topics else "", {})
        for event in self._decoder.decode(payload).events:
            self._change(held, event)
            self._on_event(event)

    def _change(self, held: dict[str, set[int]], event: KVCacheEvent) -> None:
        match event:
            case BlockStored():
                held.setdefault(event.medium or "GPU", set()).update(event.block_hashes)
            case BlockRemoved():
                held[event.medium or "GPU"].difference_update(event.block_hashes)
            case AllBlocksCleared():
                for names in held.values():
                    names.clear()
