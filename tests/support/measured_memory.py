"""`python -m tests.support.measured_memory`: the memory of a real engine's model, as JSON.

Reads an `EngineConfig` from standard input. llama.cpp logs the size of every buffer that it
reserves; what the process has more than before the load is measured too.
"""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from typing import Any

import msgspec
import psutil

from logs.llama_log import LogBridge
from protocol.config import EngineConfig

BUFFER = re.compile(r"(model|KV|RS|compute|output|LoRA) buffer size = +([\d.]+) MiB")
MIB = 1 << 20
_OWN = psutil.Process()


class Buffers(logging.Handler):
    """The megabytes of each kind of buffer, from the log."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.sizes: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        if found := BUFFER.search(record.getMessage()):
            kind = found[1]
            # A context logs its compute buffers again when it reserves them again.
            self.sizes[kind] = self.sizes.get(kind, 0.0) + float(found[2])


def measured(config: EngineConfig) -> dict[str, Any]:
    """What an engine with this configuration takes, from a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.measured_memory"],
        input=msgspec.json.encode(config),
        capture_output=True,
        check=True,
        timeout=300,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main() -> None:
    from scheduler.backends.llama.backend import LlamaBackend

    config = msgspec.json.decode(sys.stdin.buffer.read(), type=EngineConfig)
    buffers = Buffers()
    logger = logging.getLogger("llama.cpp")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(buffers)
    logger.propagate = False
    bridge = LogBridge()
    bridge.install()
    before = _OWN.memory_info().rss
    backend = LlamaBackend(config)
    sizes = {kind: round(size * MIB) for kind, size in buffers.sizes.items()}
    after = _OWN.memory_info().rss
    print(json.dumps({"buffers": sizes, "before": before, "after": after}))
    backend.close()


if __name__ == "__main__":
    main()
