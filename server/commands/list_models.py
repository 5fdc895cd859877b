"""`llamapack list`: the models on this machine."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from server.commands.arguments import parser
from server.commands.description import Described, ago, as_json, describing
from server.commands.table import table
from server.store.folders import Folders, folders_of
from server.store.sizes import human_size
from server.store.stored_models import stored_models
from server.store.unfinished import unfinished_downloads

_HEADS = ("NAME", "SIZE", "QUANT", "ARCH", "MODIFIED", "OWNER")


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the subcommand. Returns the exit code. Raises `StoreError`."""
    asked = _flags().parse_args(argv)
    folders = folders_of(environ)
    every = stored_models(folders)
    shown = [model for model in every if asked.all or model.owner.is_ours]
    with describing() as describer:
        described = describer.all(shown)
    if asked.json:
        print(json.dumps([as_json(one) for one in described], indent=2))
        return 0
    if described:
        now = datetime.now(UTC)
        print(table(_HEADS, [_row(one, now) for one in described], right=("SIZE",)))
    for note in _notes(len(shown), len(every), folders):
        print(note, file=sys.stderr)
    return 0


def _flags() -> argparse.ArgumentParser:
    flags = parser(
        "list", "The models on this machine: our own, and those of the Hugging Face cache."
    )
    flags.add_argument(
        "-a",
        "--all",
        action="store_true",
        help="also the models of llama.cpp, LM Studio and Ollama, which are read where they lie",
    )
    return flags


def _notes(num_shown: int, num_models: int, folders: Folders) -> Iterator[str]:
    """What the table doesn't show."""
    if not num_shown:
        yield "there are no models yet; `llamapack pull USER/REPO` gets one"
    if others := num_models - num_shown:
        more = "1 more model belongs" if others == 1 else f"{others} more models belong"
        yield f"{more} to other programs: llamapack list --all"
    if left := unfinished_downloads(folders):
        size = human_size(sum(one.size for one in left))
        yield f"unfinished downloads take {size}: pull again, or llamapack rm --unfinished"


def _row(described: Described, now: datetime) -> list[str]:
    model = described.model
    beside = " +mmproj" if model.projector is not None else ""
    return [
        model.name,
        human_size(model.size),
        described.quantization or "-",
        (described.architecture or "damaged") + beside,
        ago(model.modified, now),
        model.owner,
    ]
