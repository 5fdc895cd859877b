"""What the arguments of these subcommands have in common."""

from __future__ import annotations

import argparse


def parser(name: str, description: str, epilog: str = "") -> argparse.ArgumentParser:
    """A parser for `llamapack NAME`, with `--json`."""
    made = argparse.ArgumentParser(
        prog=f"llamapack {name}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--json", action="store_true", help="print JSON, for scripts")
    return made
