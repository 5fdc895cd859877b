"""Finds the models that can be asked about: a file, the files of a folder, or of a repository.

Of a repository nothing is downloaded but the header of one model. The others of the repository
differ from it in the sizes of their weights alone, which their files' sizes tell.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from server.fit.errors import FitError
from server.model import hub
from server.model.gguf_header import GgufError, GgufHeader
from server.model.hub import HubFile
from server.model.inspection import Inspector
from server.model.split_name import SplitName

_QUANT = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:I?Q\d+(?:_[0-9A-Z]+)*|TQ\d_\d|MXFP4(?:_MOE)?|NVFP4|BF16|F16|F32))"
    r"(?=[-._/]|$)",
    re.IGNORECASE,
)
_FIRST_TRY = 1 << 20
"""Bytes after which a header is looked at; later tries come after as many times four."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model in one quantization."""

    name: str
    quantization: str
    """ "" if the file's name does not tell."""
    num_bytes: int
    """Bytes of all its files."""
    path: Path
    """A file with the model's header; what else the file has may be missing."""
    headers: tuple[GgufHeader, ...]
    """Of all files of `path`."""
    factor: float = 1.0
    """How much larger this model's weights are than those of `path`."""


@contextmanager
def candidates(
    model: str, *, token: str | None = None, endpoint: str | None = None
) -> Iterator[list[Candidate]]:
    """The models that are meant. Their paths are good until the block ends. Raises `FitError` and
    `ModelFileError`."""
    path = Path(model).expanduser()
    inspector = Inspector()
    try:
        if path.is_dir():
            yield _sorted([local_model(file, inspector) for file in _first_files(path)])
        elif path.exists() or model.count("/") != 1:
            yield [local_model(path, inspector)]
        else:
            with TemporaryDirectory(prefix="llamapack-") as folder:
                reader = _RemoteReader(model, token, endpoint, Path(folder), inspector)
                yield _sorted(reader.candidates())
    finally:
        inspector.close()


def _sorted(found: list[Candidate]) -> list[Candidate]:
    return sorted(found, key=lambda one: one.num_bytes)


def _first_files(folder: Path) -> list[Path]:
    files = [file for file in sorted(folder.rglob("*.gguf")) if _is_first(file.name)]
    if not files:
        raise FitError(f"{folder} has no GGUF file")
    return files


def _is_first(name: str) -> bool:
    split = SplitName.parse(name)
    return split is None or split.number == 1


def local_model(path: Path, inspector: Inspector) -> Candidate:
    """A model on the disk; of a split model, the first file is named. Raises `FitError`."""
    split = SplitName.parse(path.name)
    files = [path] if split is None else [path.with_name(name) for name in split.all_names()]
    headers = tuple(_header(file, inspector) for file in files)
    num_bytes = sum(file.stat().st_size for file in files)
    return Candidate(path.name, quantization_of(path.name), num_bytes, path, headers)


def _header(path: Path, inspector: Inspector) -> GgufHeader:
    if not path.is_file():
        raise FitError(f"there is no file {path}")
    try:
        return inspector.header(path)
    except GgufError as error:
        raise FitError(f"{path} {error}") from None


def quantization_of(name: str) -> str:
    """The quantization in a file's name; "" if there is none."""
    found = _QUANT.findall(name.removesuffix(".gguf"))
    return found[-1].upper() if found else ""


class _RemoteReader:
    """Reads headers of one repository into a folder."""

    def __init__(
        self,
        repo: str,
        token: str | None,
        endpoint: str | None,
        folder: Path,
        inspector: Inspector,
    ) -> None:
        self._repo = repo
        self._token = token
        self._endpoint = endpoint
        self._folder = folder
        self._inspector = inspector

    def candidates(self) -> list[Candidate]:
        """One for each model of the repository."""
        models = hub.models_of(self._repo, token=self._token, endpoint=self._endpoint)
        families: dict[str, list[tuple[HubFile, ...]]] = {}
        for model in sorted(models, key=_num_bytes):
            families.setdefault(_family(model[0].name), []).append(model)
        return [one for family in families.values() for one in self._family(family)]

    def _family(self, models: Sequence[tuple[HubFile, ...]]) -> Iterator[Candidate]:
        """The quantizations of one model, the smallest first, whose header is read."""
        known = self._read(models[0])
        head = self._head_bytes(known)
        for model in models:
            name, num_bytes = model[0].name, _num_bytes(model)
            factor = max(num_bytes - head, 0) / max(known.num_bytes - head, 1)
            yield Candidate(
                name, quantization_of(name), num_bytes, known.path, known.headers, factor
            )

    def _read(self, model: tuple[HubFile, ...]) -> Candidate:
        paths = [self._fetch(file) for file in model]
        headers = tuple(_header(path, self._inspector) for path in paths)
        return Candidate(model[0].name, "", _num_bytes(model), paths[0], headers)

    def _fetch(self, file: HubFile) -> Path:
        """A file as large as the hub's, of which only the beginning is on the disk."""
        path = self._folder / file.name.replace("/", "_")
        chunks = hub.starts_of(self._repo, file.name, token=self._token, endpoint=self._endpoint)
        with path.open("wb") as target:
            size, due = 0, _FIRST_TRY
            for chunk in chunks:
                size += target.write(chunk)
                if size >= due:
                    target.flush()
                    if self._is_whole(path):
                        break
                    due = size * 4
            target.truncate(max(file.num_bytes, size))
        return path

    def _is_whole(self, path: Path) -> bool:
        """Whether the file has its header. Raises `FitError` for what is none."""
        try:
            self._inspector.header(path)
        except GgufError as error:
            if "incomplete" not in str(error):
                raise FitError(f"{path.name} {error}") from None
            return False
        return True

    def _head_bytes(self, known: Candidate) -> int:
        """Bytes of all files that are no weights."""
        weights = sum(sum(header.tensors.values()) for header in known.headers)
        return max(known.num_bytes - weights, 0)


def _num_bytes(model: Sequence[HubFile]) -> int:
    return sum(file.num_bytes for file in model)


def _family(name: str) -> str:
    """The name without what tells quantizations apart."""
    base = os.path.basename(name)
    split = SplitName.parse(base)
    stem = base.removesuffix(".gguf") if split is None else split.stem
    return _QUANT.sub("", stem).lower()
