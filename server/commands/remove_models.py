"""`llamapack rm`: removes models from this machine."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence

from server.commands.arguments import parser
from server.startup import EXIT_USAGE
from server.store.folders import Folders, folders_of
from server.store.model import StoredModel
from server.store.names import find
from server.store.removal import check_ours, remove
from server.store.sizes import human_size
from server.store.stored_models import stored_models
from server.store.unfinished import remove_unfinished, unfinished_downloads


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the subcommand. Returns the exit code. Raises `StoreError`."""
    flags = _flags()
    asked = flags.parse_args(argv)
    if bool(asked.names) == asked.unfinished:
        flags.error("name models, or give --unfinished")
    folders = folders_of(environ)
    if asked.unfinished:
        return _remove_unfinished(folders, is_sure=asked.yes, is_json=asked.json)
    every = stored_models(folders)
    models = list(dict.fromkeys(find(name, every) for name in asked.names))
    if not asked.force:
        for model in models:
            check_ours(model)
    code = _confirmed([_line(model) for model in models], is_sure=asked.yes)
    if code:
        return code
    return _remove(models, folders, force=asked.force, is_json=asked.json)


def _flags() -> argparse.ArgumentParser:
    flags = parser(
        "rm", "Remove models: our own, and those of the Hugging Face cache. It asks before."
    )
    flags.add_argument("names", metavar="NAME", nargs="*", help="a name of `llamapack list`")
    flags.add_argument("-y", "--yes", action="store_true", help="don't ask")
    flags.add_argument(
        "-f",
        "--force",
        action="store_true",
        help="also models that belong to llama.cpp, LM Studio or Ollama",
    )
    flags.add_argument(
        "--unfinished", action="store_true", help="what pulls have left that were stopped"
    )
    return flags


def _line(model: StoredModel) -> str:
    return f"{model.name}  {human_size(model.size)}  {model.path}"


def _confirmed(lines: Sequence[str], *, is_sure: bool) -> int:
    """Ask whether to remove what the lines tell. Returns the exit code; 0 is a yes."""
    if is_sure:
        return 0
    if not sys.stdin.isatty():
        print("llamapack: error: nobody can be asked here; add --yes", file=sys.stderr)
        return EXIT_USAGE
    print(*lines, sep="\n", file=sys.stderr)
    print("remove? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return 0
    print("nothing was removed", file=sys.stderr)
    return 1


def _remove_unfinished(folders: Folders, *, is_sure: bool, is_json: bool) -> int:
    found = unfinished_downloads(folders)
    lines = [f"{human_size(one.size)}  {one.path}" for one in found]
    code = _confirmed(lines, is_sure=is_sure or not found)
    if code:
        return code
    freed = {str(one.path): remove_unfinished(one) for one in found}
    if is_json:
        print(json.dumps([{"path": path, "freed": size} for path, size in freed.items()], indent=2))
    else:
        print(f"removed {len(freed)} unfinished; {human_size(sum(freed.values()))} are free again")
    return 0


def _remove(models: Sequence[StoredModel], folders: Folders, *, force: bool, is_json: bool) -> int:
    freed = {model.name: remove(model, folders, force=force) for model in models}
    if is_json:
        print(json.dumps([{"name": name, "freed": size} for name, size in freed.items()], indent=2))
        return 0
    for name, size in freed.items():
        rest = f"{human_size(size)} are free again" if size else "its content stays elsewhere"
        print(f"removed {name}; {rest}")
    return 0
