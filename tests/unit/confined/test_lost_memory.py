"""A process that has no memory where nobody can be told ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.paths import ROOT

SCRIPT = """
import asyncio, threading
from confined.lost_memory import end_without_memory

def fail():
    raise {error}

class Unlucky:
    def __del__(self):
        fail()

async def failing():
    fail()

def a_callback(loop):
    loop.call_soon(fail)

def a_thread(loop):
    threading.Thread(target=fail).start()

def a_finalizer(loop):
    Unlucky()

def a_forgotten_task(loop):
    loop.create_task(failing())

async def main():
    loop = asyncio.get_running_loop()
    end_without_memory(loop)
    {kind}(loop)
    await asyncio.sleep({seconds})
    print("goes on")

asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["a_callback", "a_thread", "a_finalizer", "a_forgotten_task"])
@pytest.mark.parametrize(("error", "ends"), [("MemoryError()", True), ("ValueError()", False)])
def test_only_a_lack_of_memory_ends_the_process(kind: str, error: str, ends: bool) -> None:
    # However late a thread of a busy machine fails, the end comes before.
    script = SCRIPT.format(kind=kind, error=error, seconds=60 if ends else 0.2)
    process = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert process.returncode == int(ends), process.stderr
    assert ("goes on" in process.stdout) is not ends
    assert ("out of memory" in process.stderr) is ends
    assert error.removesuffix("()") in process.stderr or ends
