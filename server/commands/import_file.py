"""`llamapack import`: takes a file on this machine into the store, under a name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from server.commands.arguments import parser
from server.commands.description import as_json, describing
from server.store.folders import folders_of
from server.store.own_files import How, import_file
from server.store.sizes import human_size

_EPILOG = """\
On the same disk the file gets a second name and takes no more room; on another disk it is copied.
"""


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the subcommand. Returns the exit code. Raises `StoreError` and `ModelFileError`."""
    flags = parser("import", "Take a GGUF file into the store, under a name.", _EPILOG)
    flags.add_argument(
        "file", metavar="FILE", type=Path, help="the file; of a split model, its first file"
    )
    flags.add_argument("--name", help="the model's name; by default the file's")
    how = flags.add_mutually_exclusive_group()
    how.add_argument("--copy", action="store_true", help="copy, whatever the disk")
    how.add_argument(
        "--link", action="store_true", help="only link to the file, which has to stay where it is"
    )
    asked = flags.parse_args(argv)
    way: How = "copy" if asked.copy else "link" if asked.link else "auto"
    model = import_file(asked.file.expanduser(), folders_of(environ), name=asked.name, how=way)
    if asked.json:
        with describing() as describer:
            print(json.dumps(as_json(describer.of(model)), indent=2))
        return 0
    print(f"{model.name}  {human_size(model.size)}  {model.path}")
    return 0
