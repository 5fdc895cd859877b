"""Downloads a model from the Hugging Face hub, or from a server with the same routes.

llama.cpp's conventions apply. A model is `user/repo[:quant]`. Without a quantization, Q4_K_M is
taken, otherwise Q8_0, otherwise the first model in the repository. All files of a split model are
downloaded. The cache is huggingface_hub's own, so files that other programs have downloaded are not
downloaded again.
"""

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from server.model.split_name import SplitName
from server.startup import ModelFileError

_REPO = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?::(?P<quant>[\w.-]+))?")
_PREFERRED = ("Q4_K_M", "Q8_0")
# Names of GGUF files that belong to a model but aren't models.
_COMPANIONS = ("mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-")
_REVISION = "main"
_MOST_LISTED = 8
_SECONDS_TO_ANSWER = 10
_FIRST_ERROR = 400
_MOST_HEAD_BYTES = 1 << 28
"""More than any file's header has."""

_Result = TypeVar("_Result")


def fetch(
    repo: str,
    *,
    file: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
    offline: bool = False,
    cache: Path | None = None,
) -> Path:
    """The local path of the model's first file, after downloading what isn't cached.

    `repo` is `user/repo[:quant]`; `file` names one file instead of choosing by quantization.
    Without `token`, `endpoint` or `cache`, huggingface_hub's own settings apply. A terminal shows a
    progress bar. Raises ModelFileError.
    """
    name, quant = _parse(repo)
    hub = _Hub(name, _checked(token), endpoint, cache, offline)
    names = hub.file_names()
    place = f"the downloaded part of {name}" if hub.offline else name
    chosen = _named(file, names, place) if file else _choose(names, quant, place)
    paths = [hub.download(part) for part in _parts(chosen, names, place)]
    return paths[0]


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository."""

    name: str
    num_bytes: int


def models_of(
    repo: str, *, token: str | None = None, endpoint: str | None = None
) -> list[tuple[HubFile, ...]]:
    """All models of a repository that the hub has; of each all files, the first one first.

    `repo` is `user/repo[:quant]`; with a quantization, the model of that alone. Raises
    ModelFileError.
    """
    name, quant = _parse(repo)
    sizes = _Hub(name, _checked(token), endpoint, None, False).file_sizes()
    names = list(sizes)
    chosen = [_choose(names, quant, name)] if quant else [one for one in names if _is_model(one)]
    if not chosen:
        raise ModelFileError(f"{name} has no GGUF model")
    return [
        tuple(HubFile(part, sizes[part]) for part in _parts(one, names, name)) for one in chosen
    ]


def starts_of(
    repo: str, file: str, *, token: str | None = None, endpoint: str | None = None
) -> Iterator[bytes]:
    """The bytes of a file from its beginning, as they come; whoever has enough stops.

    `repo` is as for `models_of`. Raises ModelFileError.
    """
    name, _ = _parse(repo)
    return _Hub(name, _checked(token), endpoint, None, False).beginning(file)


def cached_models(cache: Path | None = None) -> list[str]:
    """The models in the cache, as `user/repo file`."""
    from huggingface_hub import constants

    folder = cache or Path(constants.HF_HUB_CACHE)
    repos = sorted(
        one.name.removeprefix("models--").replace("--", "/", 1) for one in folder.glob("models--*")
    )
    hubs = ((repo, _Hub(repo, None, None, folder, offline=True)) for repo in repos)
    return [
        f"{repo} {name}" for repo, hub in hubs for name in hub.cached_names() if _is_model(name)
    ]


def _parse(repo: str) -> tuple[str, str | None]:
    match = _REPO.fullmatch(repo)
    if match is None:
        raise ModelFileError(f"a repository looks like user/repo or user/repo:quant, not {repo}")
    quant = match["quant"]
    return match["repo"], None if quant == "latest" else quant


def _checked(token: str | None) -> str | None:
    """The token without the newline at the end of files and secrets."""
    token = (token or "").strip()
    if not re.fullmatch(r"[!-~]*", token):
        raise ModelFileError("the Hugging Face token has a character that no token has")
    return token or None


def _named(file: str, names: list[str], place: str) -> str:
    if file not in names:
        raise ModelFileError(f"there is no file {file} in {place}{_offer(names)}")
    return file


def _choose(names: list[str], quant: str | None, place: str) -> str:
    """The file for the quantization, or the best file if no quantization is given."""
    models = [name for name in names if _is_model(name)]
    for wanted in (quant,) if quant else _PREFERRED:
        pattern = re.compile(re.escape(wanted) + "[.-]", re.IGNORECASE)
        if found := next((name for name in models if pattern.search(name)), None):
            return found
    if quant is not None and models:
        raise ModelFileError(f"{place} has no model with quantization {quant}{_offer(models)}")
    if not models:
        raise ModelFileError(f"{place} has no GGUF model")
    return models[0]


def _is_model(name: str) -> bool:
    """Whether this is a model in one file, or the first file of a split model."""
    base = name.rpartition("/")[2]
    if not base.endswith(".gguf") or any(part in base for part in _COMPANIONS):
        return False
    split = SplitName.parse(base)
    return split is None or split.number == 1


def _parts(chosen: str, names: list[str], place: str) -> list[str]:
    """All files of the chosen model, the first file first."""
    folder, slash, base = chosen.rpartition("/")
    split = SplitName.parse(base)
    if split is None:
        return [chosen]
    parts = [folder + slash + name for name in split.all_names()]
    if missing := [part for part in parts if part not in names]:
        raise ModelFileError(f"{place} lacks {missing[0]}, a part of the split model {chosen}")
    return parts


def _offer(names: list[str]) -> str:
    models = [name for name in names if name.endswith(".gguf")]
    more = f" and {len(models) - _MOST_LISTED} more" if len(models) > _MOST_LISTED else ""
    return f"; there are {', '.join(models[:_MOST_LISTED])}{more}" if models else ""


class _Hub:
    """One repository: the hub answers if it can be reached, otherwise the cache.

    `offline` says that only the cache is used, because the user asked for that or the hub is down.
    """

    def __init__(
        self,
        repo: str,
        token: str | None,
        endpoint: str | None,
        cache: Path | None,
        offline: bool,
    ) -> None:
        from huggingface_hub import constants

        self._repo = repo
        self._token = token
        self._endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self._cache = cache or Path(constants.HF_HUB_CACHE)
        self.offline = offline or constants.is_offline_mode()

    def file_names(self) -> list[str]:
        """The names of the repository's files, in the hub's order.

        An unreachable hub is no error if the cache has the repository.
        """
        if self.offline:
            return self.cached_names() or self._fail_uncached("--offline is set")
        try:
            return self._guarded(self._listed_names)
        except _UnreachableError as error:
            self.offline = True
            names = self.cached_names() or self._fail_uncached(str(error))
            print(f"{error}; using the files downloaded before", file=sys.stderr)
            return names

    def download(self, name: str) -> Path:
        """The local path of one file, downloaded unless it is cached."""
        if name not in self.cached_names():
            print(f"downloading {name} from {self._endpoint}/{self._repo}", file=sys.stderr)
        try:
            return self._guarded(lambda: self._downloaded(name))
        except _UnreachableError as error:
            raise ModelFileError(f"{error}, while downloading {name} of {self._repo}") from None

    def _listed_names(self) -> list[str]:
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self._endpoint, token=self._token, library_name="llamapack")
        info = api.model_info(self._repo, timeout=_SECONDS_TO_ANSWER)
        return [sibling.rfilename for sibling in info.siblings or ()]

    def file_sizes(self) -> dict[str, int]:
        """The sizes of the repository's files by name, in the hub's order."""
        try:
            return self._guarded(self._listed_sizes)
        except _UnreachableError as error:
            raise ModelFileError(str(error)) from None

    def beginning(self, name: str) -> Iterator[bytes]:
        """The bytes of a file, as they come."""
        chunks = self._chunks(name)
        while True:
            try:
                chunk = self._guarded(lambda: next(chunks, None))
            except _UnreachableError as error:
                raise ModelFileError(f"{error}, while reading {name} of {self._repo}") from None
            if chunk is None:
                return
            yield chunk

    def _listed_sizes(self) -> dict[str, int]:
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self._endpoint, token=self._token, library_name="llamapack")
        info = api.model_info(self._repo, timeout=_SECONDS_TO_ANSWER, files_metadata=True)
        return {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or ()}

    def _chunks(self, name: str) -> Iterator[bytes]:
        from huggingface_hub import get_session, get_token, hf_hub_url

        url = hf_hub_url(self._repo, name, revision=_REVISION, endpoint=self._endpoint)
        # The range is a courtesy: a server that sends more is not read any further.
        headers = {"Range": f"bytes=0-{_MOST_HEAD_BYTES - 1}"}
        if token := self._token or get_token():
            headers["Authorization"] = f"Bearer {token}"
        with get_session().stream("GET", url, headers=headers, follow_redirects=True) as answer:
            if answer.status_code >= _FIRST_ERROR:
                raise self._refused(answer.status_code)
            yield from answer.iter_bytes()

    def _downloaded(self, name: str) -> Path:
        from huggingface_hub import hf_hub_download

        path = hf_hub_download(
            self._repo,
            name,
            revision=_REVISION,
            cache_dir=self._cache,
            endpoint=self._endpoint,
            token=self._token,
            local_files_only=self.offline,
            library_name="llamapack",
        )
        return Path(path)

    def cached_names(self) -> list[str]:
        """The names of the files that were downloaded before."""
        folder = self._cache / f"models--{self._repo.replace('/', '--')}"
        try:
            commit = (folder / "refs" / _REVISION).read_text(encoding="ascii").strip()
        except OSError:
            return []
        snapshot = folder / "snapshots" / commit
        files = (path for path in snapshot.rglob("*") if path.is_file())
        return sorted(path.relative_to(snapshot).as_posix() for path in files)

    def _fail_uncached(self, reason: str) -> list[str]:
        raise ModelFileError(f"{reason}, and {self._repo} has not been downloaded before")

    def _guarded(self, call: Callable[[], _Result]) -> _Result:
        """The result of the call; the many errors of the hub and the disk become two kinds."""
        from huggingface_hub import errors

        try:
            return call()
        except errors.GatedRepoError:
            raise ModelFileError(
                f"{self._repo} is gated: accept its terms at {self._endpoint}/{self._repo} and "
                "give a token of that account with --hf-token or HF_TOKEN"
            ) from None
        except errors.RepositoryNotFoundError:
            raise ModelFileError(
                f"there is no repository {self._repo} at {self._endpoint}, or it is private "
                "and needs --hf-token or HF_TOKEN"
            ) from None
        except errors.HfHubHTTPError as error:
            raise self._refused(error.response.status_code) from None
        # HTTPError is the base class of the HTTP client's errors, for every HTTP client.
        except (errors.HTTPError, errors.OfflineModeIsEnabled) as error:  # type: ignore[attr-defined]
            raise _UnreachableError(self._endpoint, error) from None
        except errors.LocalEntryNotFoundError as error:
            raise _UnreachableError(self._endpoint, error.__cause__ or error) from None
        except OSError as error:
            raise ModelFileError(
                f"fetching {self._repo} into {self._cache} failed: "
                f"{error.strerror or _first_line(error)}"
            ) from None
        except (ValueError, TypeError, RuntimeError) as error:
            # Invalid JSON, JSON of another shape, and the errors of the transfer library.
            raise ModelFileError(
                f"{self._endpoint} doesn't answer like a hub: {_first_line(error)}"
            ) from None

    def _refused(self, status: int) -> Exception:
        if status in (401, 403):
            return ModelFileError(
                f"{self._endpoint} refuses access to {self._repo} (status {status}); check "
                "--hf-token or HF_TOKEN"
            )
        return _UnreachableError(self._endpoint, f"status {status}")


class _UnreachableError(Exception):
    """The hub doesn't answer at present; the cache may help."""

    def __init__(self, endpoint: str, reason: object) -> None:
        super().__init__(f"can't reach the hub {endpoint} ({_first_line(reason)})")


def _first_line(error: object) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
