"""Finds the model file to serve, and says early and clearly if the file can't be served."""

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from config import ServeSettings
from config.speculation import DRAFT_MODEL
from server.model import docker, hub
from server.model.download import fetch_url, place_at
from server.model.gguf_header import GgufError, GgufHeader
from server.model.inspection import inspector
from server.model.split_name import SplitName
from server.startup import ModelFileError

DEMO_MODEL = Path(str(resources.files("models"))) / "demo" / "demo-target.gguf"

_MOST_LISTED = 5


def resolve_model(settings: ServeSettings, environ: Mapping[str, str] = os.environ) -> Path:
    """The file to load, complete and readable; downloads it if the settings say so.

    The environment variable HF_ENDPOINT is the hub's address. Raises ModelFileError.
    """
    path = settings.model
    if path is None or not path.exists():  # a file that is there needs no origin
        path = _from_origin(settings, environ) or path or _demo_model()
    check_model(path)
    return path


def resolve_draft(settings: ServeSettings, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The draft model's file, found in the same way; None without a draft model."""
    if DRAFT_MODEL not in settings.spec_type:
        return None
    path = settings.spec_draft_model
    if settings.spec_draft_hf is not None:
        file = None if path is None else str(path)
        path = _fetch(settings.spec_draft_hf, file, settings, environ)
    assert path is not None, "the settings were checked"
    try:
        check_model(path)
    except ModelFileError as error:
        raise ModelFileError(f"draft model: {error}") from None
    return path


def check_model(path: Path) -> None:
    """Raises ModelFileError unless the file, and all other files of a split model, can be
    loaded."""
    files = _all_files(path)
    headers = [_checked_header(file) for file in files]
    _check_content(path, headers, SplitName.parse(path.name))


def _fetch(
    repo: str, file: str | None, settings: ServeSettings, environ: Mapping[str, str]
) -> Path:
    return hub.fetch(
        repo,
        file=file,
        token=settings.hf_token,
        endpoint=environ.get("HF_ENDPOINT") or None,
        offline=settings.offline,
    )


def _from_origin(settings: ServeSettings, environ: Mapping[str, str]) -> Path | None:
    """The model out of a repository or from a URL, at the place that `--model` names, if it does;
    None if the settings name no origin."""
    target, offline = settings.model, settings.offline
    if settings.model_url is not None:
        return fetch_url(settings.model_url, target=target, offline=offline, environ=environ)
    if settings.hf_repo is not None:
        path = _fetch(settings.hf_repo, settings.hf_file, settings, environ)
    elif settings.docker_repo is not None:
        path = docker.fetch(settings.docker_repo, offline=offline, environ=environ)
    else:
        return None
    return path if target is None else place_at(path, target)


def _demo_model() -> Path:
    if not DEMO_MODEL.is_file():
        raise ModelFileError(
            f"the embedded demo model {DEMO_MODEL} is missing; name a model with --model or "
            "--hf-repo"
        )
    return DEMO_MODEL


def _all_files(path: Path) -> list[Path]:
    split = SplitName.parse(path.name)
    if split is None:
        return [path]
    if split.number != 1:
        raise ModelFileError(
            f"{path} is part {split.number} of a split model; give the first part, "
            f"{split.all_names()[0]}"
        )
    files = [path, *(path.with_name(name) for name in split.all_names()[1:])]
    missing = [file.name for file in files[1:] if not file.exists()]
    if missing and path.exists():
        raise ModelFileError(
            f"{path} is one of {split.count} parts, and missing are {_listed(missing)}"
        )
    return files


def _checked_header(path: Path) -> GgufHeader:
    _check_file(path)
    try:
        header = inspector.header(path)
    except GgufError as error:
        raise ModelFileError(f"{path} {error}") from None
    size = path.stat().st_size
    if size < header.needed_bytes:
        raise ModelFileError(
            f"{path} is incomplete: it has {size:,} of {header.needed_bytes:,} bytes; "
            "copy or download it again"
        )
    return header


def _check_file(path: Path) -> None:
    if path.is_dir():
        names = sorted(file.name for file in path.glob("*.gguf"))
        found = f"; it has {_listed(names)}" if names else ""
        raise ModelFileError(f"{path} is a folder, not a GGUF file{found}")
    if not path.exists():
        raise ModelFileError(f"there is no file {path}")
    if not path.is_file():
        raise ModelFileError(f"{path} is not a regular file")


def _check_content(path: Path, headers: list[GgufHeader], split: SplitName | None) -> None:
    """Refuses GGUF files that hold something other than a model's weights."""
    first = headers[0]
    kind, architecture = first.text("general.type"), first.text("general.architecture")
    parts = first.number("split.count")
    if split is None and parts > 1:
        raise ModelFileError(
            f"{path} is one of {parts} parts, so its name has to end in "
            f"-{first.number('split.no') + 1:05d}-of-{parts:05d}.gguf"
        )
    if kind == "adapter":
        raise ModelFileError(f"{path} is a LoRA adapter, not a model")
    if kind == "mmproj" or architecture == "clip":
        raise ModelFileError(f"{path} is a multimodal projector, not a language model")
    if kind == "imatrix" or architecture == "imatrix":
        raise ModelFileError(f"{path} is an importance matrix, not a model")
    if not architecture:
        raise ModelFileError(f"{path} doesn't say which architecture it has")
    if not any(header.tensor_count for header in headers):
        raise ModelFileError(f"{path} has a vocabulary, but no weights")


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_LISTED
    return ", ".join(names[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
