"""`llamapack pull`: gets a model, from wherever it is."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from server.commands.arguments import parser
from server.commands.description import as_json, describing
from server.startup import EXIT_INTERRUPTED
from server.store.folders import Owner
from server.store.model import StoredModel
from server.store.progress import OnProgress, PullProgress
from server.store.progress_bar import progress_bar
from server.store.pull import pull, pull_options
from server.store.sizes import human_size

_EPILOG = """\
MODEL is one of
  USER/REPO[:QUANT]        a repository of the Hugging Face hub; without QUANT Q4_K_M is taken,
                           else Q8_0, else the first model
  https://HOST/FILE.gguf   an address; of a split model, that of its first file
  docker://[USER/]NAME[:TAG], ollama://[USER/]NAME[:TAG]
                           a model of Docker's or Ollama's registry
  FILE.gguf                a file on this machine, as `llamapack import` takes it

Variables: HF_TOKEN, HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE.
A pull that is stopped goes on where it stopped when it is started again.
"""


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the subcommand. Returns the exit code. Raises `StoreError`."""
    flags = parser("pull", "Download a model, or what is missing of it.", _EPILOG)
    flags.add_argument("model", metavar="MODEL", help="what to pull, see below")
    flags.add_argument("--hf-token", metavar="TOKEN", help="access token for Hugging Face")
    flags.add_argument("--offline", action="store_true", help="only look what is there")
    flags.add_argument(
        "--no-mmproj", action="store_true", help="leave out the file that lets the model see"
    )
    asked = flags.parse_args(argv)
    options = pull_options(
        environ,
        token=asked.hf_token,
        is_offline=asked.offline,
        with_projector=not asked.no_mmproj,
    )
    try:
        with _reported(asked.json) as report:
            model = pull(asked.model, report, options=options)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return EXIT_INTERRUPTED
    _print(model, is_json=asked.json)
    return 0


@contextmanager
def _reported(is_json: bool) -> Iterator[OnProgress]:
    if is_json:
        yield _print_progress
        return
    with progress_bar() as report:
        yield report


def _print_progress(progress: PullProgress) -> None:
    print(json.dumps(dataclasses.asdict(progress)), flush=True)


def _print(model: StoredModel, *, is_json: bool) -> None:
    if is_json:
        with describing() as describer:
            done = {"status": "success", "model": as_json(describer.of(model))}
        print(json.dumps(done), flush=True)
        return
    beside = "" if model.projector is None else f", with {model.projector.name}"
    print(f"{model.name}  {human_size(model.size)}{beside}")
    flag = f"-hf {model.name}" if model.owner is Owner.HUGGING_FACE else f"-m {model.path}"
    print(f"talk to it: llamapack run {model.name}")
    print(f"serve it:   llamapack serve {flag}")
