"""Scenarios of `ui/e2e` in Chromium, driven by Node.js."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.support.paths import ROOT

UI = ROOT / "ui"
SECONDS = 280
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def _missing() -> str:
    """What a browser test lacks here; "" if nothing."""
    if shutil.which("node") is None:
        return "there is no Node.js"
    if not (UI / "node_modules" / "playwright-core").is_dir():
        return "playwright-core is not installed: npm ci in ui/"
    if "CHROMIUM" not in os.environ and not any(map(shutil.which, _CHROMIUM)):
        return "there is no Chromium"
    return ""


needs_browser = pytest.mark.skipif(bool(_missing()), reason=_missing())


def play(
    scenario: str,
    url: str,
    *,
    options: Mapping[str, Any] | None = None,
    outside: Callable[[str], object] | None = None,
) -> str:
    """Run a scenario against the server at `url`; returns what the scenario printed.

    `outside` is called with each word by which the scenario asks for something to be done.
    """
    command = ["node", "e2e/run.mjs", scenario, f"{url}/", json.dumps(options or {})]
    process = subprocess.Popen(
        command,
        cwd=UI,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    printed: list[str] = []
    try:
        for line in process.stdout:
            printed.append(line)
            if line.startswith("@") and outside is not None:
                outside(line[1:].strip())
                process.stdin.write("done\n")
                process.stdin.flush()
        code = process.wait(SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    text = "".join(printed)
    assert code == 0, f"{scenario}:\n{text}"
    return text
