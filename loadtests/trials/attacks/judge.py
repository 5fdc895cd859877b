"""Says which bounds an attack broke, and prints the table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from loadtests.trials.attacks.attack import Attack
from loadtests.trials.attacks.watch import Memory, Sighting

GAP_SECONDS = 1.0
"""The innocent client's longest time between two tokens."""

WAIT_SECONDS = 5.0
"""The innocent client's longest wait for a first token: attackers' answers may fill the slots."""

HEALTH_SECONDS = 0.2
GROWTH_MIB = 100.0
"""How far memory of the API process and of the engine may grow during an attack."""

ERRORS_IN_ORDER = frozenset({"501", "503", "504"})
"""Statuses of 500 and above that no fault of the server causes."""

OUTAGE = "can't be started"
"""What clients are told in an outage, instead of an answer."""

COLUMNS = (
    *("no", "attack", "gap s", "wait s", "health ms"),
    *("API MiB", "engine MiB", "others", "verdict"),
)


@dataclass(frozen=True)
class Bounds:
    """The bounds; infinite ones of time where the machine's speed must not count."""

    gap_s: float = GAP_SECONDS
    wait_s: float = WAIT_SECONDS
    health_s: float = HEALTH_SECONDS
    growth_mib: float = GROWTH_MIB


NO_CLOCK = Bounds(math.inf, math.inf, math.inf)


@dataclass(frozen=True)
class Finding:
    """The outcome of one attack."""

    attack: Attack
    seen: Sighting
    statuses: dict[str, int]
    hard: Sequence[str] = field(default_factory=list)
    """Bounds that are broken at any speed."""
    slow: Sequence[str] = field(default_factory=list)
    """Bounds of time that are broken."""

    @property
    def problems(self) -> list[str]:
        """All that is broken, each with the attack's name."""
        what = f"{self.attack.number} {self.attack.name}"
        return [f"{what}: {problem}" for problem in (*self.hard, *self.slow)]

    @property
    def row(self) -> tuple[str, ...]:
        """The finding's row in the table."""
        seen = self.seen
        statuses = ", ".join(f"{count} x {status}" for status, count in self.statuses.items())
        verdict = "; ".join((*self.hard, *self.slow)) or "ok"
        return (
            str(self.attack.number),
            self.attack.name,
            f"{seen.gap_s:.2f}",
            f"{seen.wait_s:.2f}",
            f"{1000 * seen.health_s:.0f}",
            _shown(seen.api),
            _shown(seen.engine),
            f"{seen.others.peak:.0f}",
            f"{verdict} ({statuses or 'no answers'})",
        )


def judge(
    attack: Attack,
    seen: Sighting,
    statuses: dict[str, int],
    broken: Sequence[str],
    restarts: float,
    bounds: Bounds,
    told: str = "",
) -> Finding:
    """The finding; `broken` are the attack's own claims that did not hold, and `told` an error that
    attackers saw."""
    hard, slow = broken_bounds(
        seen, bounds, has_restarts=attack.restarts > 0, is_outage=attack.is_outage
    )
    hard = [*broken, *hard]
    if restarts > attack.restarts:
        hard.append(f"{restarts:.0f} engines died")
    allowed = ERRORS_IN_ORDER | attack.expected
    faults = [status for status in statuses if status.startswith("5") and status not in allowed]
    hard += [f"attackers saw {status}: {told}" for status in faults]
    return Finding(attack, seen, statuses, hard, slow)


def broken_bounds(
    seen: Sighting, bounds: Bounds, *, has_restarts: bool = False, is_outage: bool = False
) -> tuple[list[str], list[str]]:
    """The bounds that are broken at any speed, and those of time. With restarts of the engine no
    wait counts, and in an outage no answer of /health."""
    hard = [*_of_answers(seen, OUTAGE if is_outage else None), *_of_memory(seen, bounds)]
    slow = []
    if not has_restarts and seen.gap_s > bounds.gap_s:
        slow.append(f"{seen.gap_s:.2f} s between two tokens")
    if not has_restarts and seen.wait_s > bounds.wait_s:
        slow.append(f"waited {seen.wait_s:.2f} s for the first token")
    if not is_outage and seen.health_s > bounds.health_s:
        slow.append(f"/health took {1000 * seen.health_s:.0f} ms")
    if not (is_outage or has_restarts) and set(seen.health) - {200}:
        hard.append(f"/health said {seen.health}")
    return hard, slow


def print_head() -> None:
    """Print the names of the columns."""
    print_row(COLUMNS)


def print_row(cells: Sequence[str]) -> None:
    """Print one row of the table."""
    widths = (2, 44, 5, 6, 9, 13, 13, 6, 0)
    line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    print(line.rstrip(), flush=True)


def _of_answers(seen: Sighting, in_order: str | None) -> list[str]:
    """What is wrong with the innocent client's answers; failures that say `in_order` are not."""
    found = []
    failures = [failure for failure in seen.failures if not in_order or in_order not in failure]
    if failures:
        found.append(f"{len(failures)} innocent answers failed: {failures[0][:200]}")
    if seen.changed:
        found.append(f"{seen.changed} of {seen.answers} innocent texts changed")
    return found


def _of_memory(seen: Sighting, bounds: Bounds) -> list[str]:
    processes = {"API process": seen.api, "engine": seen.engine}
    return [
        f"{name} grew by {memory.growth:.0f} MiB"
        for name, memory in processes.items()
        if memory.growth > bounds.growth_mib
    ]


def _shown(memory: Memory) -> str:
    return f"{memory.before:.0f} {memory.peak:.0f} {memory.after:.0f}"
