"""Runs one trial: `python -m loadtests.trials NAME`; the exit status is 1 if the trial failed."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
from collections.abc import Sequence

NAMES = (
    *("deaths", "drain", "reload", "soak", "hostile", "attacks", "scrape", "rollout"),
    *("routing", "cluster"),
)


def main(argv: Sequence[str]) -> int:
    """Run the trial that the first argument names, with the other arguments as its options."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.trials", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    name = parser.parse_args(argv[:1]).name
    trial = importlib.import_module(f"loadtests.trials.{name}")
    options = argparse.ArgumentParser(
        prog=f"python -m loadtests.trials {name}",
        description=trial.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    trial.add_options(options)
    problems = asyncio.run(trial.run(options.parse_args(argv[1:])))
    for problem in problems:
        print(f"FAILED: {problem}")
    print(f"{name}: {'failed' if problems else 'passed'}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
