"""`llamapack rpc-server`: lends this machine's devices to a server elsewhere."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from confined import python_module


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Become llama.cpp's RPC server."""
    command = python_module.command("scheduler.backends.llama.rpc_server", *argv)
    os.execve(command[0], command, python_module.environment(environ))
