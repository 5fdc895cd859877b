"""How a module of ours runs in a process of its own, whatever lies in the working directory."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping


def command(module: str, *arguments: str) -> list[str]:
    """The command line. `-P` keeps Python from running files of the working directory."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables; the child finds its packages where this process found them."""
    variables = os.environ if base is None else base
    return {**variables, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
