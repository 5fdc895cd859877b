"""Our own folders: files that are downloaded by URL, and files that are imported under a name."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from server.model.files import check_model
from server.model.split_name import SplitName, files_of
from server.store.errors import StoreError
from server.store.folders import Folders, Owner
from server.store.locks import lock_if_free
from server.store.model import StoredModel, stored
from server.store.progress import PullJob
from server.store.quantization import stem_of
from server.store.reference import UrlReference
from server.store.remote_file import RemoteFile
from server.store.transfer import check_space, fetch, partial_of
from server.store.web import Web

How = Literal["auto", "copy", "link"]
"""`auto` is a second name on the same disk, a copy on another one; `link` leaves the file alone."""

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,120}")
_MOST_PARTS = 1000


def url_folder(downloads: Path, url: str) -> Path:
    """Where the files of an address lie: one folder for each folder of a server."""
    return downloads / hashlib.sha256(url.rpartition("/")[0].encode()).hexdigest()[:16]


def pull_url(
    asked: UrlReference, folder: Path, web: Web | None, job: PullJob, *, name: str | None = None
) -> StoredModel:
    """The model at an address, downloaded once; of a split model, all parts.

    `name` is another name for the file. Without `web`, only earlier downloads count. Raises
    `StoreError`.
    """
    split = SplitName.parse(asked.file)
    if split is not None and split.count > _MOST_PARTS:
        raise StoreError(f"{asked.url} is one of {split.count} parts, more than {_MOST_PARTS}")
    names = [asked.file] if split is None else split.all_names()
    places = [folder / part for part in names]
    if split is None and name is not None:
        places = [folder / name]
    files = [RemoteFile(part, _sibling(asked.url, asked.file, part)) for part in names]
    missing = [pair for pair in zip(files, places, strict=True) if not pair[1].is_file()]
    if missing and web is not None:
        job.begin(files)
    for file, place in missing:
        if web is None:
            raise StoreError(
                f"offline (--offline or HF_HUB_OFFLINE is set), and {file.url} has not been "
                "downloaded before"
            )
        fetch(file, place, web, job)
    return stored(stem_of(places[0].name), places, Owner.LLAMAPACK)


def import_file(
    file: Path, folders: Folders, *, name: str | None = None, how: How = "auto"
) -> StoredModel:
    """The model in a file, under a name in our own folder. The file is checked first.

    Raises `StoreError`, and `ModelFileError` for a file that is no model.
    """
    check_model(file)
    name = stem_of(file.name) if name is None else name
    if not _NAME.fullmatch(name):
        raise StoreError(
            f"a name has letters, digits and . _ + - and starts with a letter or digit, not {name}"
        )
    parts = files_of(file)
    places = _places(folders.imports, name, len(parts))
    if taken := [place for place in places if place.exists() or place.is_symlink()]:
        raise StoreError(
            f"there is a model {name} already, {taken[0]}; choose another --name, or remove it "
            f"with `llamapack rm {name}`"
        )
    put_all(parts, places, how)
    return stored(name, places, Owner.LLAMAPACK)


def place_at(file: Path, target: Path) -> Path:
    """`target`, as another name of `file`, or as a copy where the disk is another one.

    Parts of a split model keep their names. Raises `StoreError`.
    """
    split = SplitName.parse(file.name)
    parts = files_of(file)
    places = [target] if split is None else [target.with_name(part.name) for part in parts]
    missing = [
        (part, place) for part, place in zip(parts, places, strict=True) if not place.exists()
    ]
    put_all([part for part, _ in missing], [place for _, place in missing], "auto")
    return places[0]


def put_all(files: Sequence[Path], places: Sequence[Path], how: How) -> None:
    """Put files at their places, the first file last: a model is there when all parts are.

    Raises `StoreError`; then nothing of the model is there.
    """
    done: list[Path] = []
    try:
        for file, place in reversed(list(zip(files, places, strict=True))):
            place.parent.mkdir(parents=True, exist_ok=True)
            _put(file.resolve(), place, how)
            done.append(place)
    except OSError as error:
        for place in done:
            place.unlink(missing_ok=True)
        raise StoreError(f"can't write {place}: {error.strerror}") from None


def _put(file: Path, place: Path, how: How) -> None:
    if how == "link":
        place.symlink_to(file)
        return
    if how == "auto":
        with suppress(OSError):
            place.hardlink_to(file)
            return
    check_space(place.parent, file.stat().st_size)
    partial = partial_of(place)
    with lock_if_free(partial) as is_ours:
        if not is_ours:
            raise StoreError(f"{place} is being written by another process")
        try:
            shutil.copyfile(file, partial)
            partial.replace(place)
        finally:
            partial.unlink(missing_ok=True)


def _places(folder: Path, name: str, count: int) -> list[Path]:
    if count == 1:
        return [folder / f"{name}.gguf"]
    return [folder / part for part in SplitName(name, 1, count).all_names()]


def _sibling(url: str, file: str, part: str) -> str:
    """The address of another part: the last step of the path, and nothing else, is replaced."""
    head, mark, query = url.partition("?")
    folder = head.rpartition("/")[0]
    return url if part == file else f"{folder}/{quote(part)}{mark}{query}"
