"""Says early and clearly if a model file can't be served."""

from pathlib import Path

from server.model.gguf_header import GgufError, GgufHeader
from server.model.inspection import inspector
from server.model.split_name import SplitName
from server.startup import ModelFileError

_MOST_LISTED = 5
_HEAD = "cls."
"""How the names of a ranking head's tensors begin."""


def check_model(path: Path) -> None:
    """Raises ModelFileError unless the file, and all other files of a split model, can be
    loaded."""
    files = _all_files(path)
    headers = [_checked_header(file) for file in files]
    _check_content(path, headers, SplitName.parse(path.name))


def has_ranking_head(path: Path) -> bool:
    """Whether the model scores texts, so that `--reranking` makes sense; True if that is unknown.

    Without a head llama.cpp gives numbers that mean nothing.
    """
    try:
        names = [name for file in _all_files(path) for name in inspector.tensors(file)]
    except GgufError:
        return True
    return any(name.startswith(_HEAD) for name in names)


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
