"""What the engine's thread does besides computing: `python -m loadtests.steps --help`.

A device is idle between two batches, while the engine's thread samples, keeps its books and plans
the next step. This counts the CPU time of that thread, so that other processes hardly matter.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from loadtests.harness.machine import machine_facts

WORKER = Path(__file__).with_name("worker.py")
HERE = Path(__file__).parents[2]
COLUMNS = ("llama.cpp", "between", "beside", "schedule", "draft", "decode", "sample", "update")
HEAD = f"{'slots':>5} {'packages':14} {'a row':>7} " + " ".join(f"{name:>9}" for name in COLUMNS)

Seconds = Mapping[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table; return 0, or 2 if a run failed."""
    options = _parser().parse_args(arguments)
    print(machine_facts(None).line())
    print(f"microseconds of a step, medians of {options.rounds} rounds\n\n{HEAD}")
    try:
        for num_slots in options.slots:
            for line in _compared(options, num_slots):
                print(line, flush=True)
    except subprocess.CalledProcessError as error:
        print(f"error: {error}\n{error.stderr[-2000:]}", file=sys.stderr)
        return 2
    return 0


def _compared(options: argparse.Namespace, num_slots: int) -> Iterator[str]:
    """A line for each checkout. They take turns, so that each finds the same machine."""
    checkouts: dict[str, Path] = {"these": HERE}
    if options.beside:
        checkouts[options.beside.name] = options.beside
    found: dict[str, list[Seconds]] = {name: [] for name in checkouts}
    for _ in range(options.rounds):
        for name, path in checkouts.items():
            found[name].append(_read(options, num_slots, path))
    for name, readings in found.items():
        per_step = {
            column: 1e6 * statistics.median(one.get(column, 0.0) for one in readings)
            for column in COLUMNS
        }
        numbers = " ".join(f"{per_step[column]:9.0f}" for column in COLUMNS)
        yield f"{num_slots:5} {name:14} {per_step['between'] / num_slots:7.1f} {numbers}"


def _read(options: argparse.Namespace, num_slots: int, checkout: Path) -> Seconds:
    """Seconds of one step, by what is done."""
    orders = {
        "model": str(options.model.resolve()),
        "num_slots": num_slots,
        "num_steps": options.steps,
        "num_threads": options.threads,
        "temperature": options.temperature,
    }
    done = subprocess.run(
        [sys.executable, "-P", str(WORKER), json.dumps(orders)],
        env={**os.environ, "PYTHONPATH": str(checkout.resolve())},
        capture_output=True,
        text=True,
        check=True,
    )
    sums: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {name: seconds / options.steps for name, seconds in sums.items()}


def _parser() -> argparse.ArgumentParser:
    demo = HERE / "models" / "demo" / "demo-target.gguf"
    parser = argparse.ArgumentParser(prog="python -m loadtests.steps", description=__doc__)
    add = parser.add_argument
    add("--model", type=Path, default=demo, help="GGUF (default: the demo model)")
    add("--slots", type=_counts, default=(1, 8, 32, 64), help="default: 1,8,32,64")
    add("--steps", type=int, default=300, help="of each run (default: 300)")
    add("--rounds", type=int, default=3, help="default: 3")
    add("--threads", type=int, default=1, help="that compute (default: 1)")
    add("--temperature", type=float, default=0.8, help="default: 0.8")
    add("--beside", type=Path, help="another checkout, whose packages are measured in turn")
    return parser


def _counts(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
