"""What `llamapack serve` prints instead of serving: devices, downloaded models, a bash script."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from config.actions import ACTIONS, completion_script
from config.names import Setting, flags
from confined import python_module
from server.store.folders import folders_of
from server.store.stored_models import stored_models


def print_devices(rpc: Sequence[str] = ()) -> int:
    """The devices of llama.cpp, which a process of its own loads. Returns the exit code.

    The devices of RPC servers are listed too.
    """
    command = python_module.command("scheduler.backends.llama.list_devices", *rpc)
    return subprocess.run(command, env=python_module.environment(), check=False).returncode


def print_models(environ: Mapping[str, str] = os.environ) -> int:
    """The models that were downloaded before. Returns the exit code."""
    found = [model for model in stored_models(folders_of(environ)) if model.owner.is_ours]
    print(f"number of models in cache: {len(found)}")
    for number, model in enumerate(found, 1):
        print(f"{number:4}. {model.name}")
    return 0


def print_completion() -> int:
    """A script for bash. Returns the exit code."""
    settings = (flag for flag, meaning in flags().items() if isinstance(meaning.target, Setting))
    print(completion_script({*settings, *(flag for one in ACTIONS for flag in one.flags)}))
    return 0
