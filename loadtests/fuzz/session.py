"""A run of the fuzzer: batches of inputs of each family in turn, and what they found."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase

from loadtests.fuzz import corpus
from loadtests.fuzz.family import Family, Outcome
from loadtests.fuzz.minimize import minimized
from loadtests.fuzz.watchdog import Watchdog, watched_server
from loadtests.trials.attacks.judge import Bounds
from loadtests.trials.attacks.watch import Sighting

BATCH = 100
BATCH_SECONDS = 60.0
"""A batch ends after this time, so that all families get their turn."""

CONFIRMATIONS = 3
QUIET_SECONDS = 2.0
MOST_SUSPECTS = 4
"""Inputs of a batch that are tried again alone, the slowest first, when the batch broke a bound."""


@dataclass(frozen=True)
class Finding:
    """An input that broke something."""

    family: str
    what: str
    path: Path

    def __str__(self) -> str:
        return f"{self.family}: {self.what} ({self.path})"


@dataclass
class Batch:
    """The inputs of one batch, with what came of each."""

    family: Family
    tried: list[tuple[bytes, Outcome]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Bounds that were broken, by any of the inputs."""
    seen: Sighting = field(default_factory=Sighting)

    @property
    def slowest(self) -> list[bytes]:
        """The inputs, those that took longest first."""
        ordered = sorted(self.tried, key=lambda pair: -pair[1].seconds)
        return [data for data, _ in ordered]


class Session:
    """The fuzzer's state. `found` is the folder for findings, `kept` the one for new seeds."""

    def __init__(self, found: Path, kept: Path | None, bounds: Bounds) -> None:
        self.findings: list[Finding] = []
        self._found = found
        self._kept = kept
        self._bounds = bounds
        self._shapes: dict[str, set[str]] = {}
        self._seeds: dict[str, list[bytes]] = {}
        self._faults: set[str] = set()
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._folder = Path(tempfile.mkdtemp(prefix="llamapack-fuzz-"))
        self._watchdog: Watchdog | None = None

    def close(self) -> None:
        """Stop the server."""
        self._stop()
        self._runner.close()
        shutil.rmtree(self._folder)

    def replay(self, families: Sequence[Family]) -> None:
        """Try every input that is kept."""
        for family in families:
            batch = Batch(family)
            inputs = corpus.read(corpus.KEPT, family.name)
            self._watch(batch, partial(self._try_all, batch, inputs))

    def fuzz(self, families: Sequence[Family], seconds: float, seed: int) -> None:
        """Try new inputs of each family in turn until the time is over."""
        deadline = time.monotonic() + seconds
        for family in families:
            self._seeds[family.name] = corpus.read(corpus.KEPT, family.name)
        turn = 0
        while time.monotonic() < deadline:
            batch = Batch(families[turn % len(families)])
            until = min(deadline, time.monotonic() + BATCH_SECONDS)
            turn += 1
            self._watch(batch, partial(self._invent, batch, until, seed + turn))

    def _invent(self, batch: Batch, until: float, seed: int) -> None:
        """Try new inputs. Hypothesis climbs towards inputs that take longer."""
        family = batch.family
        strategy = family.strategy(self._ready().place, tuple(self._seeds[family.name]))

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=BATCH,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.target],
            suppress_health_check=list(HealthCheck),
        )
        @hypothesis.given(strategy)
        def attempt(data: bytes) -> None:
            if time.monotonic() < until and self._is_alive():
                hypothesis.target(self._try(batch, data).seconds)

        attempt()

    def _try_all(self, batch: Batch, inputs: Sequence[bytes]) -> None:
        for data in inputs:
            self._try(batch, data)

    def _try(self, batch: Batch, data: bytes) -> Outcome:
        family, place = batch.family, self._ready().place
        outcome = self._runner.run(family.attempt(data, place))
        batch.tried.append((data, outcome))
        if outcome.fault:
            self._report(family, data, outcome.fault)
        shapes = self._shapes.setdefault(family.name, set())
        if outcome.shape not in shapes and len(data) <= corpus.MOST_BYTES:
            shapes.add(outcome.shape)
            self._seeds.setdefault(family.name, []).append(data)
            if self._kept is not None:
                corpus.write(self._kept, family.name, data)
        return outcome

    # --- the server ---

    def _ready(self) -> Watchdog:
        if self._watchdog is None:
            server = watched_server(self._folder, self._bounds)
            self._watchdog = self._runner.run(self._stack.enter_async_context(server))
        return self._watchdog

    def _is_alive(self) -> bool:
        return self._watchdog is not None and self._watchdog.is_alive

    def _stop(self) -> None:
        self._watchdog = None
        self._runner.run(self._stack.aclose())

    def _watch(self, batch: Batch, work: Callable[[], object]) -> None:
        """Do the work of a batch, and look for the input that broke a bound."""
        self._attend(batch, work)
        self._print(batch)
        if not batch.broken:
            return
        for data in batch.slowest[:MOST_SUSPECTS]:
            broken = self._breaks_alone(batch.family, data)
            if broken:
                self._report(batch.family, data, "; ".join(broken))
                return
        print(f"    no input of the batch does so alone: {'; '.join(batch.broken)}")
        if any("ended" in broken or "died" in broken for broken in batch.broken):
            for data, _ in batch.tried[-MOST_SUSPECTS:]:
                self._report(batch.family, data, f"one of the last: {'; '.join(batch.broken)}")

    def _breaks_alone(self, family: Family, data: bytes) -> list[str]:
        """The bounds that an input breaks each time, while nothing breaks without it.

        A busy machine is slow for its own reasons.
        """
        broken: list[str] = []
        for _ in range(CONFIRMATIONS):
            quiet, alone = Batch(family), Batch(family)
            self._attend(quiet, partial(time.sleep, QUIET_SECONDS))
            if not quiet.broken:
                self._attend(alone, partial(self._try, alone, data))
            broken = alone.broken
            if not broken or not self._is_alive():
                break
        return broken

    def _attend(self, batch: Batch, work: Callable[[], object]) -> None:
        watchdog = self._ready()
        if not batch.family.is_served:
            work()
            return
        self._runner.run(watchdog.begin())
        work()
        batch.broken, batch.seen = self._runner.run(watchdog.end())
        if not watchdog.is_alive:
            self._stop()

    # --- findings ---

    def _report(self, family: Family, data: bytes, what: str) -> None:
        """Keep a finding once, as small as it can be made."""
        kind = f"{family.name} {''.join(c for c in what[:80] if not c.isdigit())}"
        if kind in self._faults:
            return
        self._faults.add(kind)
        data = self._runner.run(minimized(data, lambda part: self._has_fault(family, part)))
        finding = Finding(family.name, what, corpus.write(self._found, family.name, data))
        self.findings.append(finding)
        print(f"    FOUND {finding}", flush=True)

    async def _has_fault(self, family: Family, data: bytes) -> bool:
        """Whether an input has a fault whatever others see. What only others notice isn't made
        smaller."""
        watchdog = self._watchdog
        if watchdog is None or not watchdog.is_alive:
            return False
        return bool((await family.attempt(data, watchdog.place)).fault)

    def _print(self, batch: Batch) -> None:
        seen, shapes = batch.seen, self._shapes.get(batch.family.name, set())
        slowest = max((outcome.seconds for _, outcome in batch.tried), default=0.0)
        print(
            f"{time.strftime('%H:%M:%S')} {batch.family.name}: {len(batch.tried)} inputs, "
            f"{len(shapes)} shapes, slowest {slowest:.2f} s; others: gap {seen.gap_s:.2f} s, "
            f"/health {1000 * seen.health_s:.0f} ms, API {seen.api.growth:+.0f} MiB, "
            f"engine {seen.engine.growth:+.0f} MiB",
            flush=True,
        )
