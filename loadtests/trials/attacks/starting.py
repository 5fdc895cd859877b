"""Servers that should refuse to start."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from loadtests.harness.subject import COMMAND

START_SECONDS = 60.0


async def ended(*flags: str, variables: Sequence[str] = ()) -> tuple[int, str]:
    """Exit status and standard error of a server; the status is 0 if it was ready instead."""
    command = ["env", *variables, *COMMAND, "--port", "0", *flags]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    text = b""
    try:
        async with asyncio.timeout(START_SECONDS):
            while line := await process.stderr.readline():
                text += line
                if b"ready: " in line:
                    return 0, text.decode(errors="replace")
            return await process.wait(), text.decode(errors="replace")
    except TimeoutError:
        return 0, text.decode(errors="replace")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
