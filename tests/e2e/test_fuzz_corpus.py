"""The inputs that the fuzzer has kept; `python -m loadtests.fuzz` looks for more."""

from __future__ import annotations

import subprocess
import sys

from loadtests.fuzz import corpus
from loadtests.fuzz.__main__ import FAMILIES


def test_kept_inputs_break_nothing() -> None:
    assert all(corpus.read(corpus.KEPT, family.name) for family in FAMILIES)
    done = subprocess.run(
        [sys.executable, "-m", "loadtests.fuzz", "--replay", "--no-clock"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
