"""Downloads model files by URL. A file is complete or not there, and is downloaded once."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from server.model.split_name import SplitName
from server.startup import ModelFileError

_SECONDS_OF_SILENCE = 30
_PIECE = 1 << 20


def fetch_url(url: str, *, target: Path | None, offline: bool, environ: Mapping[str, str]) -> Path:
    """The local path of the model at `url`; of a split model, all parts are downloaded.

    `target` says where the file goes, by default a cache in the user's home. Raises
    ModelFileError.
    """
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    if urlsplit(url).scheme not in ("http", "https") or not name:
        raise ModelFileError(f"--model-url must be the http or https address of a file, not {url}")
    split = SplitName.parse(name)
    if split is None:
        place = target or _cache(environ, url) / name
        return download(url, place, offline=offline)
    folder = _cache(environ, url) if target is None else target.parent
    parts = [
        download(url.replace(name, part), folder / part, offline=offline)
        for part in split.all_names()
    ]
    return parts[0]


def download(
    url: str,
    place: Path,
    *,
    offline: bool = False,
    headers: Mapping[str, str] | None = None,
    sha256: str = "",
) -> Path:
    """`place`, after the download of what is not there. Raises ModelFileError.

    The headers are for the first address only: a redirection may lead to another owner.
    """
    if place.is_file():
        return place
    if offline:
        raise ModelFileError(f"--offline is set, and {url} has not been downloaded before")
    print(f"downloading {url}", file=sys.stderr)
    partial = place.with_name(f"{place.name}.{os.getpid()}.partial")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        digest = _copy(url, partial, headers or {})
        if sha256 and digest != sha256:
            raise ModelFileError(f"{url} was changed on the way: its SHA-256 is {digest}")
        partial.replace(place)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ModelFileError(f"downloading {url} to {place} failed: {reason(error)}") from None
    finally:
        partial.unlink(missing_ok=True)
    return place


def open_url(url: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
    """The answer of a server. Raises OSError for an answer other than success."""
    request = urllib.request.Request(url)
    for name, value in headers.items():
        request.add_unredirected_header(name, value)
    try:
        answer = urllib.request.urlopen(request, timeout=_SECONDS_OF_SILENCE)
    except urllib.error.HTTPError as error:
        error.close()
        raise OSError(f"status {error.code}") from None
    assert isinstance(answer, http.client.HTTPResponse)
    return answer


def place_at(file: Path, target: Path) -> Path:
    """`target`, as another name of `file`, or as a copy where the disk is another one. Parts of a
    split model keep their names. Raises ModelFileError."""
    split = SplitName.parse(file.name)
    names = [file.name] if split is None else split.all_names()
    places = [target] if split is None else [target.with_name(name) for name in names]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for name, place in zip(names, places, strict=True):
            _link(file.with_name(name).resolve(), place)
    except OSError as error:
        raise ModelFileError(f"can't write {target}: {error.strerror}") from None
    return places[0]


def reason(error: Exception) -> str:
    """What went wrong, in one line."""
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]


def _link(file: Path, place: Path) -> None:
    if place.exists():
        return
    try:
        place.hardlink_to(file)
    except OSError:
        partial = place.with_name(f"{place.name}.{os.getpid()}.partial")
        shutil.copyfile(file, partial)
        partial.replace(place)


def _copy(url: str, place: Path, headers: Mapping[str, str]) -> str:
    """Write the body to a file; returns its SHA-256. Raises OSError for a body that is cut."""
    digest = hashlib.sha256()
    with open_url(url, headers) as answer, place.open("wb") as file:
        announced = answer.headers.get("Content-Length")
        while piece := answer.read(_PIECE):
            digest.update(piece)
            file.write(piece)
        if announced is not None and file.tell() != int(announced):
            raise OSError(f"{file.tell():,} of {int(announced):,} bytes came")
    return digest.hexdigest()


def cache_folder(environ: Mapping[str, str]) -> Path:
    """The folder of downloaded models."""
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llamapack" / "models"


def _cache(environ: Mapping[str, str], url: str) -> Path:
    folder = url.rpartition("/")[0]
    return cache_folder(environ) / hashlib.sha256(folder.encode()).hexdigest()[:16]
