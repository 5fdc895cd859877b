"""Finds the models that can be asked about: stored ones, files, folders, and those of a repository.

Of a repository nothing is downloaded but the header of one model. The others of the repository
differ from it in the sizes of their weights alone, which their files' sizes tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from server.fit.errors import FitError
from server.fit.heads import fetch_head
from server.model.gguf_header import GgufError, GgufHeader
from server.model.inspection import Inspector
from server.model.split_name import files_of
from server.store.folders import folders_of
from server.store.hub import Hub
from server.store.hub_settings import HubSettings, hub_settings
from server.store.names import find
from server.store.progress import PullJob
from server.store.quantization import all_parts, choose, is_model, parts, quant_of, stem_of
from server.store.reference import FileReference, HubReference, parse_reference
from server.store.stored_models import stored_models
from server.store.web import Web


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
    header: GgufHeader
    """Of the first file of `path`."""
    tensors: Mapping[str, int]
    """Bytes of each tensor in all files of `path`."""
    factor: float = 1.0
    """How much larger this model's weights are than those of `path`."""


@contextmanager
def candidates(
    model: str, environ: Mapping[str, str], token: str | None = None
) -> Iterator[list[Candidate]]:
    """The models that are meant. Their paths are good until the block ends.

    Raises `FitError` and `StoreError`.
    """
    inspector = Inspector()
    try:
        yield from _found(model, environ, token, inspector)
    finally:
        inspector.close()


def _found(
    model: str, environ: Mapping[str, str], token: str | None, inspector: Inspector
) -> Iterator[list[Candidate]]:
    path = Path(model).expanduser()
    if path.is_dir():
        yield _sorted([local_model(file, inspector) for file in _first_files(path)])
        return
    if path.exists():
        yield [local_model(path, inspector)]
        return
    reference = parse_reference(model) if "/" in model or model.endswith(".gguf") else None
    if isinstance(reference, HubReference):
        settings = hub_settings(environ, token=token)
        with TemporaryDirectory(prefix="llamapack-") as folder:
            yield _sorted(_Repository(reference, settings, Path(folder), inspector).candidates())
    elif isinstance(reference, FileReference):
        raise FitError(f"there is no file {path}")
    elif reference is not None:
        raise FitError(f"{model} has to be pulled first: llamapack pull {model}")
    else:
        yield [local_model(find(model, stored_models(folders_of(environ))).path, inspector)]


def _sorted(found: list[Candidate]) -> list[Candidate]:
    return sorted(found, key=lambda one: one.num_bytes)


def _first_files(folder: Path) -> list[Path]:
    files = [file for file in sorted(folder.rglob("*.gguf")) if is_model(file.name)]
    if not files:
        raise FitError(f"{folder} has no GGUF model")
    return files


def local_model(path: Path, inspector: Inspector) -> Candidate:
    """A model on the disk; of a split model, the first file is named. Raises `FitError`."""
    files = files_of(path)
    if missing := [file for file in files if not file.is_file()]:
        raise FitError(f"there is no file {missing[0]}")
    try:
        header = inspector.header(path)
        tensors = {name: size for file in files for name, size in inspector.tensors(file).items()}
    except GgufError as error:
        raise FitError(f"{path} {error}") from None
    num_bytes = sum(file.stat().st_size for file in files)
    return Candidate(path.name, quant_of(path.name), num_bytes, path, header, tensors)


class _Repository:
    """Reads headers of one repository into a folder."""

    def __init__(
        self, reference: HubReference, settings: HubSettings, folder: Path, inspector: Inspector
    ) -> None:
        self._reference = reference
        self._web = Web()
        self._job = PullJob()
        self._hub = Hub(reference.repo, settings, self._web, self._job)
        self._listing = self._hub.listing(is_patient=False)
        self._folder = folder
        self._inspector = inspector

    def candidates(self) -> list[Candidate]:
        """One for each model of the repository. Raises `StoreError` and `FitError`."""
        sizes, place = self._listing.sizes, self._reference.repo
        if self._reference.quant:
            chosen = [choose(sizes, self._reference.quant, place)]
        else:
            choose(sizes, None, place)  # raises if there is none
            chosen = [name for name in sizes if is_model(name)]
        families: dict[str, list[list[str]]] = {}
        for name in sorted(chosen, key=lambda name: self._num_bytes(all_parts(name))):
            families.setdefault(_family(name), []).append(parts(name, sizes, place))
        return [one for family in families.values() for one in self._family(family)]

    def _family(self, models: Sequence[Sequence[str]]) -> Iterator[Candidate]:
        """The quantizations of one model, the smallest first, whose header is read."""
        for name in models[0]:
            self._fetch(name)
        known = local_model(self._place(models[0][0]), self._inspector)
        head = max(known.num_bytes - sum(known.tensors.values()), 0)
        for files in models:
            num_bytes = self._num_bytes(files) or known.num_bytes
            factor = max(num_bytes - head, 0) / max(known.num_bytes - head, 1)
            yield Candidate(
                name=files[0],
                quantization=quant_of(files[0]),
                num_bytes=num_bytes,
                path=known.path,
                header=known.header,
                tensors=known.tensors,
                factor=factor,
            )

    def _fetch(self, name: str) -> None:
        """Make a file as large as the hub's, of which only the beginning is on the disk."""
        remote = self._hub.file(self._listing.commit, name).remote
        sized = replace(remote, size=remote.size or self._listing.sizes.get(name) or 0)
        fetch_head(sized, self._place(name), self._web, self._inspector, self._job)

    def _place(self, name: str) -> Path:
        return self._folder / name.replace("/", "_")

    def _num_bytes(self, files: Sequence[str]) -> int:
        return sum(self._listing.sizes.get(name) or 0 for name in files)


def _family(name: str) -> str:
    """The name without what tells quantizations apart."""
    return stem_of(name).lower().replace(quant_of(name).lower() or "\0", "")
