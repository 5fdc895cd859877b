"""`python -m scheduler.backends.llama.list_devices HOST:PORT ...`: prints what `--device` can name.

The arguments are RPC servers, whose devices are listed too.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from llama_cpp import llama_cpp as lib

from scheduler.backends.base import LoadError
from scheduler.backends.llama.devices import listing, load_backends
from scheduler.backends.llama.remote import add_remote_devices


def main(endpoints: Sequence[str]) -> int:
    """Print one line for each device; returns the exit status."""
    lib.llama_backend_init()
    try:
        load_backends()
        add_remote_devices(endpoints)
    except LoadError as error:
        print(f"llamapack: error: {error}", file=sys.stderr)
        return 1
    print("\n".join(listing()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
