"""The confined process that counts memory: `python -m scheduler.backends.llama.count_memory`.

llama.cpp opens a file here that may have been made to crash it.
"""

from __future__ import annotations

import msgspec
from llama_cpp import llama_cpp as lib

from confined.loop import answer_all
from protocol.footprint import DeviceMemory, FootprintAnswer, FootprintQuestion
from scheduler.backends.base import LoadError
from scheduler.backends.llama.devices import devices, load_backends
from scheduler.backends.llama.footprint import Counter

MEMORY_BYTES = 8 << 30
"""Maximum memory: a vocabulary, and what planning takes."""

MAPPED_BYTES = 1 << 46
"""Address space, of which drivers of GPUs reserve more than any machine has memory."""


def main() -> None:
    """Answer questions until the parent is gone."""
    lib.llama_backend_init()
    counter = Counter()

    def answer(question: bytes) -> bytes:
        asked = msgspec.msgpack.decode(question, type=FootprintQuestion)
        try:
            load_backends()
            footprints = tuple(counter.count(config) for config in asked.configs)
        except LoadError as error:
            return msgspec.msgpack.encode(FootprintAnswer(error=str(error)))
        found = FootprintAnswer(footprints=footprints, devices=_devices())
        return msgspec.msgpack.encode(found)

    answer_all(answer, memory_bytes=MEMORY_BYTES, mapped_bytes=MAPPED_BYTES)


def _devices() -> tuple[DeviceMemory, ...]:
    return tuple(
        DeviceMemory(
            name=one.name,
            description=one.description,
            total=one.total_bytes,
            free=one.free_bytes,
        )
        for one in devices()
        if not one.is_cpu
    )


if __name__ == "__main__":
    main()
