"""`llamapack grammar`: lists the shipped grammars, or checks one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grammars import cli


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the subcommand. Returns the exit code."""
    return cli.run(argv)
