"""Which models a server has: what its folder, its preset and its TOML file name."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from config import ConfigError, ModelSources, ServeSettings
from config.load import ORIGINS
from config.models import ALL, ModelTable, arguments
from config.sources import Given, Level
from server.pool.cached import cached_models, hidden_models
from server.pool.names import LATEST
from server.store.quantization import is_model, stem_of
from server.store.resolve import DEMO_MODEL

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")


class ModelSource(StrEnum):
    """Who names a model; the values are llama-server's."""

    PRESET = "preset"
    FOLDER = "models_dir"
    CACHE = "cache"


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """One model that can be loaded, and how."""

    name: str
    settings: ServeSettings
    """The server's settings with the model's own."""
    variants: Mapping[str, ServeSettings] = field(default_factory=dict)
    """By alias: the settings of its requests."""
    source: ModelSource = ModelSource.PRESET
    load_on_startup: bool = False
    is_pinned: bool = False
    stop_timeout: float = 10.0
    parameters: Mapping[str, object] = field(default_factory=dict)
    """The settings that are the model's own."""
    arguments: tuple[str, ...] = ()
    """The same as flags."""
    file: tuple[int, int] | None = None
    """Bytes of the model's file and its time of modification; None while there is no file."""

    @property
    def aliases(self) -> tuple[str, ...]:
        """All other names."""
        return (*self.settings.alias[1:], *self.variants)

    @property
    def path(self) -> Path | None:
        """Where the file is; None if the model comes from elsewhere."""
        return self.settings.model

    @property
    def keep_alive(self) -> float:
        """Seconds without a request after which the model goes; infinite without an end."""
        seconds = self.settings.sleep_idle_seconds
        return float("inf") if seconds < 0 else seconds


def read_entries(
    sources: ModelSources, environ: Mapping[str, str] = os.environ
) -> dict[str, ModelEntry]:
    """All models by name: those that are named, those of the folder, those that were downloaded.

    Raises `ConfigError`.
    """
    tables = sources.tables()
    for_all = tables.pop(ALL, ModelTable(ALL))
    folder = sources.settings.models_dir
    files = {} if folder is None else models_in(folder)
    cached = cached_models(environ) if sources.settings.models_cache else {}
    hiding = [one for one in tables.values() if one.hides_cached or for_all.hides_cached]
    seen = cached.keys() - hidden_models(hiding, cached)
    entries = {
        name: _entry(
            sources,
            for_all,
            tables.get(name) or ModelTable(name),
            files.get(name, cached.get(name)),
        )
        for name in sorted({*tables, *files, *seen})
    }
    for name in seen - tables.keys() - files.keys():
        entries[name] = replace(entries[name], source=ModelSource.CACHE)
    _check_names(entries)
    return entries


def read_one(sources: ModelSources) -> dict[str, ModelEntry]:
    """The one model of a server that lets it sleep, by its name."""
    settings = sources.settings
    origin = settings.hf_repo or settings.docker_repo or settings.model_url
    path = settings.model if origin is None else settings.model or Path(origin)
    name = settings.alias[0] if settings.alias else (path or DEMO_MODEL).stem
    named = _named(settings, name)
    return {name: ModelEntry(name=name, settings=named, file=_facts(settings.model or DEMO_MODEL))}


def models_in(folder: Path) -> dict[str, Path]:
    """The models of a folder by name: its GGUF files, and its folders that have one.

    Raises `ConfigError`.
    """
    try:
        content = sorted(folder.iterdir())
    except OSError as error:
        raise ConfigError(f"--models-dir: {folder} can't be read: {error.strerror}") from None
    found: dict[str, Path] = {}
    for path in content:
        model = _model_of(path) if path.is_dir() else path
        if model is not None and _is_model(model):
            found.setdefault(path.name if path.is_dir() else stem_of(path.name), model)
    return found


def _model_of(folder: Path) -> Path | None:
    """The model of a folder with one model; of several, the first by name."""
    try:
        return min((path for path in folder.iterdir() if _is_model(path)), default=None)
    except OSError:
        return None


def _is_model(path: Path) -> bool:
    """Whether this is a model in one file, or the first file of a split model."""
    return path.suffix == ".gguf" and is_model(path.name) and path.is_file()


def _entry(
    sources: ModelSources, for_all: ModelTable, table: ModelTable, file: Path | None
) -> ModelEntry:
    is_named = any(one.field in ("model", *ORIGINS) for one in table.given)
    source = ModelSource.FOLDER if file is not None and not table.given else ModelSource.PRESET
    if not is_named:
        table = replace(table, given=(*table.given, _origin(table.name, file)))
    settings = _named(sources.settings_of(for_all, table), table.name)
    shown = [_without_folder(one, settings) for one in (*for_all.given, *table.given)]
    stays = any(one.field == "sleep_idle_seconds" for one in table.given)
    return ModelEntry(
        name=table.name,
        settings=settings,
        variants={
            alias: _of_variant(sources.settings_of(for_all, table, alias=alias), alias, settings)
            for alias in table.variants
        },
        source=source,
        load_on_startup=table.load_on_startup,
        is_pinned=table.load_on_startup or (stays and settings.sleep_idle_seconds < 0),
        stop_timeout=table.stop_timeout,
        parameters={one.field: one.value for one in shown if one.field not in ("model", "alias")},
        arguments=("llamapack", "serve", *arguments(shown)),
        file=_facts(settings.model),
    )


def _without_folder(one: Given, settings: ServeSettings) -> Given:
    """The value as clients may see it: of a file, only the name."""
    value = getattr(settings, one.field, None)
    return replace(one, value=value.name) if isinstance(value, Path) else one


def _origin(name: str, file: Path | None) -> Given:
    """Where a model comes from that no key names: its file, or the repository of its name."""
    if file is not None:
        return Given("model", str(file), f"the file of {name}", Level.MODEL)
    if _REPOSITORY.fullmatch(name):
        return Given("hf_repo", name.removesuffix(LATEST), f"the name {name}", Level.MODEL)
    raise ConfigError(f"the model {name} has no file: give it a model or a hf-repo")


def _named(settings: ServeSettings, name: str) -> ServeSettings:
    """Settings whose first alias is the model's name; the pool has checked what requests name."""
    aliases = (name, *(alias for alias in settings.alias if alias != name))
    return settings.model_copy(update={"alias": aliases, "strict_model": False})


def _of_variant(settings: ServeSettings, alias: str, base: ServeSettings) -> ServeSettings:
    return settings.model_copy(update={"alias": (alias, *base.alias), "strict_model": False})


def _facts(path: Path | None) -> tuple[int, int] | None:
    try:
        facts = None if path is None else path.stat()
    except OSError:
        return None
    return None if facts is None else (facts.st_size, facts.st_mtime_ns)


def _check_names(entries: Mapping[str, ModelEntry]) -> None:
    """Raise `ConfigError` if two models have a name in common."""
    owners: dict[str, str] = {name: name for name in entries}
    for entry in entries.values():
        for alias in entry.aliases:
            owner = owners.setdefault(alias, entry.name)
            if owner != entry.name:
                raise ConfigError(f"{alias} is a name of {owner} and of {entry.name}")
