"""`llamapack rpc-server`: lends this machine's devices to a server elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Become llama.cpp's RPC server."""
    path = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-P", "-m", "scheduler.backends.llama.rpc_server", *argv]
    os.execve(command[0], command, {**environ, "PYTHONPATH": path})
