"""`python -m scheduler FD`: the engine process, started by the API process.

FD is the number of an inherited socket. When its other end closes, the API process is gone, and
the engine process ends too.
"""

from __future__ import annotations

import gc
import logging
import signal
import socket
import sys
import time
from pathlib import Path

from confined.lost_memory import end_without_memory
from logs.formats import LineForm, formatter
from protocol.config import HUGE_PAGES, EngineConfig
from protocol.messages import LoadFailed, Ready
from scheduler.backends.base import Backend
from scheduler.core.host_memory import HostMemory
from scheduler.engine.calibration import costs_of
from scheduler.engine.channel import CommandChannel
from scheduler.engine.engine import Engine
from scheduler.engine.loop import first_config, run
from scheduler.engine.outbox import ChannelClosed
from scheduler.native.huge_pages import huge_page_bytes
from scheduler.storage.disk_cache import DiskCache

LOAD_SECONDS = 0.25
"""Loading prefixes from disk may delay the start this long. The rest is loaded while requests are
served."""

THP_SETTING = "/sys/kernel/mm/transparent_hugepage/enabled"

SAVE_SECONDS = 5.0
"""Saving prefixes to disk may delay the end this long. The API process waits for longer."""

logger = logging.getLogger("scheduler")


def main(argv: list[str]) -> int:
    """Load the model, report that, and run until `Shutdown`; returns the exit status."""
    # Ctrl-C reaches the whole process group, and systemd's SIGTERM and SIGHUP the whole service.
    # Running answers have to end first, so the API process decides when the engine stops.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end_without_memory()
    channel = CommandChannel(socket.socket(fileno=int(argv[1])))
    try:
        engine = _load(first_config(channel), channel)
        if engine is None:
            return 1
        gc.freeze()  # full collections would walk all that was loaded, and every stream would wait
        run(engine, channel)
        engine.costs.keep()
        if engine.disk is not None:
            engine.disk.save(SAVE_SECONDS)
        engine.close()
    except ChannelClosed:
        return 0
    finally:
        channel.close()
    return 0


def _load(config: EngineConfig, channel: CommandChannel) -> Engine | None:
    """An engine with the model loaded; None if loading failed. The API process is told which."""
    _set_up_logging(config)
    # Importing llama.cpp loads its libraries, which takes time.
    from logs.llama_log import LogBridge
    from scheduler.backends.base import LoadError
    from scheduler.backends.llama.backend import LlamaBackend

    log = LogBridge()
    log.install()
    try:
        backend = LlamaBackend(config)
    except LoadError as error:
        detail = f": {log.last_error}" if log.last_error else ""
        channel.send(LoadFailed(f"{error}{detail}"))
        return None
    if config.load_mode == HUGE_PAGES:
        _report_huge_pages(backend.info.size_bytes)
    engine = _engine(backend.config, backend)
    channel.send(Ready(backend.info))
    return engine


def _report_huge_pages(num_weight_bytes: int) -> None:
    """Say how much lies in huge pages; warn if nothing does."""
    found = huge_page_bytes()
    if found:
        sizes = found >> 20, num_weight_bytes >> 20
        logger.info("huge pages hold %d MiB of the engine; the weights are %d MiB", *sizes)
    else:
        logger.warning("the engine got no huge pages: %s says whether there are any", THP_SETTING)


def _engine(config: EngineConfig, backend: Backend) -> Engine:
    def open_disk() -> DiskCache:
        folder = Path(config.cache_disk)
        return DiskCache(folder, config.cache_disk_bytes, backend.fingerprint)

    engine = Engine(
        backend,
        time.monotonic,
        itl_target=config.itl_target_ms / 1000,
        host_memory=HostMemory(config.cache_ram_bytes, config.checkpoints),
        open_disk=open_disk if config.cache_disk else None,
        costs=costs_of(config, backend, time.monotonic),
        ngram=config.ngram,
    )
    if config.event_block_size:
        engine.watch_blocks(config.event_block_size, config.block_names)
    if engine.disk is not None:
        engine.disk.start(LOAD_SECONDS)
    return engine


def _set_up_logging(config: EngineConfig) -> None:
    """Log to where the API process logs, in the same form."""
    to_file = config.log_file and logging.FileHandler(config.log_file, encoding="utf-8")
    handler = to_file or logging.StreamHandler(sys.stderr)
    form = LineForm(
        as_json=config.log_json,
        timestamps=config.log_timestamps,
        prefix=config.log_prefix,
        colors=config.log_colors,
    )
    handler.setFormatter(formatter(form))
    logging.basicConfig(level=config.log_level, handlers=[handler])


if __name__ == "__main__":
    sys.exit(main(sys.argv))
