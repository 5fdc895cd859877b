"""`python -m scheduler.backends.llama.list_devices`: prints what `--device` can name."""

from __future__ import annotations

import sys

from llama_cpp import llama_cpp as lib

from scheduler.backends.base import LoadError
from scheduler.backends.llama.devices import listing, load_backends


def main() -> int:
    """Print one line for each device; returns the exit status."""
    lib.llama_backend_init()
    try:
        load_backends()
    except LoadError as error:
        print(f"llamapack: error: {error}", file=sys.stderr)
        return 1
    print("\n".join(listing()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
