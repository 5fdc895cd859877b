"""Engines that die and can't be started again for a while: the server survives, and says so."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from loadtests.harness.subject import api_process, engine_of
from loadtests.trials.attacks.attack import Attack, Run, Setting, Target

NUMBER = 8
RECOVERY_SECONDS = 40.0
SOON_SECONDS = 40.0


def _copied(folder: Path, model: str) -> str:
    """A copy of the model, which an attack may remove."""
    return shutil.copy(model, str(folder / "model.gguf"))


_OWN_MODEL = Setting(("--hang-timeout", "2"), model=_copied)


async def _kill(target: Target) -> None:
    engine = engine_of(target.server)
    if engine is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            engine.kill()
    await asyncio.sleep(0.2)


async def _says(target: Target, path: str, status: int, seconds: float) -> bool:
    """Whether a probe comes to say so in time."""
    for _ in range(int(seconds * 5)):
        if (await target.send("GET", path, timeout_s=10.0)).status == status:
            return True
        await asyncio.sleep(0.2)
    return False


async def _recovers(target: Target) -> None:
    for path in ("/health", "/livez", "/readyz"):
        target.claim(
            await _says(target, path, 200, RECOVERY_SECONDS), f"{path} never said 200 again"
        )


@contextmanager
def _limited(target: Target, limit: int, low: int) -> Iterator[None]:
    """A limit of the API process for a while."""
    pid = api_process(target.server).pid
    before = resource.prlimit(pid, limit)
    resource.prlimit(pid, limit, (low, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, limit, before)


async def _no_descriptors(target: Target) -> None:
    """The engine dies while the API process may open no descriptor."""
    with _limited(target, resource.RLIMIT_NOFILE, 8):
        await _kill(target)
        await asyncio.sleep(3)
    await _recovers(target)


async def _no_memory_for_children(target: Target) -> None:
    """The engine dies while the API process may get no memory, so that no process is started."""
    with _limited(target, resource.RLIMIT_AS, 1 << 20):
        await _kill(target)
        await asyncio.sleep(2)
    await _recovers(target)


def _without_model(spoil: Callable[[Path], object]) -> Run:
    """An attack in which the engine dies after its model was lost, and the model comes back."""

    async def run(target: Target) -> None:
        path = target.folder / "model.gguf"
        kept = shutil.copy(path, target.folder / "kept.gguf")
        path.unlink()
        spoil(path)
        await _kill(target)
        for probe in ("/health", "/livez"):
            told = await _says(target, probe, 503, SOON_SECONDS)
            target.claim(told, f"{probe} didn't say 503")
        if path.is_dir():
            path.rmdir()
        os.replace(kept, path)
        await _recovers(target)

    return run


def _signalled(*numbers: signal.Signals) -> Run:
    """An attack by signals that a service manager sends to all processes."""

    async def run(target: Target) -> None:
        for number in numbers:
            engine = engine_of(target.server)
            assert engine is not None
            engine.send_signal(number)
            await asyncio.sleep(0.3)

    return run


async def _killed_again_and_again(target: Target) -> None:
    for _ in range(5):
        await _kill(target)
        await asyncio.sleep(1)
    await _recovers(target)


async def _stopped(target: Target) -> None:
    """The engine hangs; the watchdog replaces it."""
    engine = engine_of(target.server)
    assert engine is not None
    engine.suspend()
    await asyncio.sleep(10)
    await _recovers(target)


def _outage(name: str, run: Callable[[Target], Awaitable[None]], restarts: int = 40) -> Attack:
    return Attack(NUMBER, name, run, _OWN_MODEL, restarts=restarts, is_outage=True, is_alone=True)


ATTACKS = (
    _outage("no descriptors for a restart", _no_descriptors),
    Attack(NUMBER, "SIGHUP to the engine", _signalled(signal.SIGHUP)),
    _outage("the model file vanishes, and comes back", _without_model(lambda path: None)),
    _outage("the model file becomes a folder", _without_model(lambda path: path.mkdir())),
    _outage("the model file is damaged", _without_model(lambda path: path.write_bytes(b"GGUF"))),
    _outage("no memory for a restart", _no_memory_for_children),
    _outage("five deaths in a row", _killed_again_and_again),
    _outage("the engine is stopped", _stopped),
    Attack(
        NUMBER,
        "SIGTERM, SIGINT, SIGHUP to the engine",
        _signalled(signal.SIGTERM, signal.SIGINT, signal.SIGHUP),
    ),
)
