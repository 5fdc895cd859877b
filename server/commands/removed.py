"""`llamapack rm`: removes models from this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

from server.commands.arguments import EXIT_USAGE, parser
from server.store.catalogue import stored_models
from server.store.folders import Folders, folders_of
from server.store.model import StoredModel
from server.store.names import find
from server.store.removal import check_ours, remove
from server.store.sizes import human_size


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the subcommand. Returns the exit code. Raises `StoreError`."""
    flags = parser(
        "rm", "Remove models: our own, and those of the Hugging Face cache. It asks before."
    )
    flags.add_argument("names", metavar="NAME", nargs="+", help="a name of `llamapack list`")
    flags.add_argument("-y", "--yes", action="store_true", help="don't ask")
    flags.add_argument(
        "-f",
        "--force",
        action="store_true",
        help="also models that belong to llama.cpp, LM Studio or Ollama",
    )
    asked = flags.parse_args(argv)
    folders = folders_of(environ)
    every = stored_models(folders)
    models = list(dict.fromkeys(find(name, every) for name in asked.names))
    if not asked.force:
        for model in models:
            check_ours(model)
    if not asked.yes and not sys.stdin.isatty():
        print("llamapack: error: nobody can be asked here; add --yes", file=sys.stderr)
        return EXIT_USAGE
    if not asked.yes and not _is_wanted(models):
        print("nothing was removed", file=sys.stderr)
        return 1
    return _remove(models, folders, force=asked.force, is_json=asked.json)


def _is_wanted(models: Sequence[StoredModel]) -> bool:
    for model in models:
        print(f"{model.name}  {human_size(model.size)}  {model.path}", file=sys.stderr)
    print("remove? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _remove(models: Sequence[StoredModel], folders: Folders, *, force: bool, is_json: bool) -> int:
    freed = {model.name: remove(model, folders, force=force) for model in models}
    if is_json:
        print(json.dumps([{"name": name, "freed": size} for name, size in freed.items()], indent=2))
        return 0
    for name, size in freed.items():
        rest = f"{human_size(size)} are free again" if size else "its content stays elsewhere"
        print(f"removed {name}; {rest}")
    return 0
