"""Removes models: what is theirs alone, and nothing that another model needs."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from server.store.errors import NotOurs, StoreError
from server.store.folders import Folders, Owner
from server.store.model import StoredModel
from server.store.quantization import is_model
from server.store.readers import llama_cpp, ollama
from server.store.readers.files import gguf_files


def remove(model: StoredModel, folders: Folders, *, force: bool = False) -> int:
    """Remove a model's files. Returns the bytes that are free then.

    Models of other programs need `force`. Raises `NotOurs` and `StoreError`.
    """
    if not force:
        check_ours(model)
    freed = 0
    try:
        for path in _doomed(model, folders):
            freed += _unlink(path)
    except OSError as error:
        raise StoreError(f"can't remove {error.filename}: {error.strerror}") from None
    if model.owner is Owner.HUGGING_FACE:
        _tidy_repo(model.path, folders.hugging_face)
    for root in _roots(folders, model.owner):
        _remove_empty(model.path.parent, root)
    return freed


def check_ours(model: StoredModel) -> None:
    """Raise `NotOurs` if the model belongs to another program."""
    if not model.owner.is_ours:
        raise NotOurs(
            f"{model.name} belongs to {model.owner} ({model.path}); remove it there, or with "
            "--force here"
        )


def _doomed(model: StoredModel, folders: Folders) -> list[Path]:
    """The files to remove: those that show the model first, then their content."""
    files = list(model.files)
    if model.projector is not None and _is_last_beside(model):
        files.append(model.projector)
    if model.owner is Owner.OLLAMA:
        return _of_ollama(model, folders)
    linked = [path for path in files if path.is_symlink() and path.resolve().parent.name == "blobs"]
    if not linked:
        beside = [one for path in files for one in llama_cpp.sidecars(path)]
        return [*files, *(beside if model.owner is Owner.LLAMA_CPP else [])]
    return _of_snapshots(files)


def _of_snapshots(files: Iterable[Path]) -> list[Path]:
    """Links in all commits, and blobs that no other link shows."""
    links: list[Path] = []
    blobs: list[Path] = []
    for path in files:
        snapshots = _snapshots(path)
        name = path.relative_to(_commit(path))
        links += [one / name for one in snapshots.iterdir() if (one / name).is_symlink()]
    doomed = set(links)
    if links:
        root = _snapshots(links[0])
        kept = {
            path.resolve() for path in root.rglob("*") if path.is_symlink() and path not in doomed
        }
        blobs = [blob for blob in {link.resolve() for link in links} if blob not in kept]
    return [*links, *blobs]


def _commit(path: Path) -> Path:
    """The folder of the commit in which a file lies."""
    return next(parent for parent in path.parents if parent.parent.name == "snapshots")


def _snapshots(path: Path) -> Path:
    return _commit(path).parent


def _of_ollama(model: StoredModel, folders: Folders) -> list[Path]:
    """The manifest, and the layers that no other manifest names."""
    for folder in folders.ollama:
        every = list(ollama.manifests(folder))
        named = [
            one
            for one in every
            if one.name == model.name.partition("@")[0]
            and ollama.blob(folder, model.digest) == model.path
        ]
        if named:
            others = (one.digests for one in every if one is not named[0])
            free = named[0].digests.difference(*others)
            return [named[0].path, *(ollama.blob(folder, digest) for digest in sorted(free))]
    raise StoreError(f"{model.name} is no longer there")


def _is_last_beside(model: StoredModel) -> bool:
    """Whether no other model in the folder needs the projector."""
    assert model.projector is not None
    beside = gguf_files(model.projector.parent).items()
    return not any(is_model(name) and path not in model.files for name, path in beside)


def _unlink(path: Path) -> int:
    """Remove a file. Returns the bytes that no other name keeps."""
    try:
        state = path.lstat()
        path.unlink()
    except FileNotFoundError:
        return 0
    is_content = not stat.S_ISLNK(state.st_mode) and state.st_nlink == 1
    return state.st_size if is_content else 0


def _roots(folders: Folders, owner: Owner) -> Iterator[Path]:
    """Folders that stay even if they are empty."""
    by_owner = {
        Owner.LLAMAPACK: (folders.imports, folders.downloads),
        Owner.HUGGING_FACE: (),
        Owner.LLAMA_CPP: folders.llama_cpp,
        Owner.LM_STUDIO: folders.lm_studio,
        Owner.OLLAMA: (),
        Owner.NOBODY: (),
    }
    yield from by_owner[owner]


def _tidy_repo(path: Path, cache: Path) -> None:
    """Remove the repository's empty folders; without any file, its reference and its locks too."""
    snapshots = _snapshots(path)
    repo = snapshots.parent
    for folder in sorted(snapshots.rglob("*"), reverse=True):
        with suppress(OSError):
            folder.rmdir()
    with suppress(OSError):
        snapshots.rmdir()
        for left in (repo / "refs", cache / ".locks" / repo.name):
            shutil.rmtree(left, ignore_errors=True)
        (repo / "blobs").rmdir()
        repo.rmdir()


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove folders that have become empty, below the root."""
    with suppress(OSError):
        while root in folder.parents:
            folder.rmdir()
            folder = folder.parent
