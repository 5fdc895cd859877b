"""The settings of each of a server's models: tables in the TOML file, sections of a preset."""

import configparser
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from config.coerce import to_switch
from config.durations import seconds_of
from config.errors import ConfigError
from config.load import ORIGINS, collect, last, settings_of
from config.names import Meaning, closest, flags, keys, settings, variables
from config.option import Group
from config.refused import Refused, canonical
from config.settings import ServeSettings
from config.sources import Given, Level
from config.toml_file import MODELS, parse_toml

STOP_SECONDS = 10.0
"""How long an unloaded model may take to end its answers."""

ALL = "*"
"""The section of a preset whose keys are for all models."""

_BEFORE_SECTIONS = "\0"
_MAX_PRESET_BYTES = 4 << 20

_OF_ONE_MODEL = (*ORIGINS, "model", "hf_file", "alias", "tags")
"""What is given for the whole server can't be these of each model."""

_OF_THE_SERVER = frozenset(
    {"config", "preset", "hf_token", "offline"}
    | {one.field for one in settings() if one.option.group in (Group.SERVER, Group.LOGGING)}
    | {one.field for one in settings() if one.option.group is Group.MODELS}
) - {"slot_save_path", "hang_timeout", "sleep_idle_seconds"}

_OF_REQUESTS = frozenset(
    {"n_predict", "embd_normalize"}
    | {one.field for one in settings() if one.option.group in (Group.SAMPLING, Group.CHAT)}
) - {"backend_sampling"}
"""What an alias can change: the engine needs not know it."""


@dataclass(frozen=True)
class ModelTable:
    """What the user wrote about one model, or about all of them."""

    name: str
    given: tuple[Given, ...] = ()
    variants: Mapping[str, tuple[Given, ...]] = field(default_factory=dict)
    """By alias: what it changes for its requests. A plain alias is an `alias` in `given`."""
    load_on_startup: bool = False
    stop_timeout: float = STOP_SECONDS
    hides_cached: bool = False
    """Whether downloaded models with the same file are not listed."""


class ModelSources:
    """Where the models of a server and their settings are written down."""

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str]) -> None:
        """Raises ConfigError."""
        self._given = collect(argv, environ)
        self.settings = settings_of(self._given)
        """Those of the server."""
        config = last(self._given, "config")
        self._toml = None if config is None else Path(str(config.value)).expanduser()
        self._check_origin()

    @property
    def are_several(self) -> bool:
        """Whether the server was asked for several models, instead of one."""
        return bool(self._naming())

    @property
    def need_pool(self) -> bool:
        """Whether models come and go: several, or one that sleeps."""
        return self.are_several or self.settings.sleep_idle_seconds > 0

    def tables(self) -> dict[str, ModelTable]:
        """What is written about each model now; the table `*` is about all. Raises ConfigError."""
        found: dict[str, ModelTable] = {}
        for table in (*self._of_toml(), *self._of_preset()):
            found[table.name] = _joined(found.get(table.name), table)
        return found

    def settings_of(self, *tables: ModelTable, alias: str = "") -> ServeSettings:
        """The settings of the model that these tables are about; for requests to an alias, if one
        of the tables has it. Raises ConfigError."""
        of_server = [one for one in self._given if one.field not in _OF_ONE_MODEL]
        own = [one for table in tables for one in table.given]
        changed = [one for table in tables for one in table.variants.get(alias, ())]
        return settings_of(sorted([*of_server, *own, *changed], key=lambda one: one.level))

    def _check_origin(self) -> None:
        naming = self._naming()
        one = next((g for g in self._given if g.field in ("model", *ORIGINS)), None)
        if naming and one is not None:
            raise ConfigError(
                f"{one.name} and {naming} can't both be given: a server has one model or several"
            )
        if naming:
            _check_fit(self._given)
            self._check_topic(naming)

    def _check_topic(self, naming: str) -> None:
        """The topic says whose blocks an event is about."""
        topic = last(self._given, "kv_events_topic")
        if topic is not None and "{model}" not in self.settings.kv_events_topic:
            raise ConfigError(f"{topic.name} needs the place {{model}}: {naming} asks for several")

    def _naming(self) -> str:
        """What asks for several models, as the user wrote it; "" if nothing does."""
        for name in ("models_dir", "models_preset"):
            if found := last(self._given, name):
                return found.name
        if self.settings.models_cache:
            return "--models-cache"
        return f"{MODELS} in {self._toml}" if self._toml and self._toml_tables() else ""

    def _toml_tables(self) -> Mapping[str, object]:
        assert self._toml is not None
        found = parse_toml(self._toml).get(MODELS, {})
        return found if isinstance(found, dict) else {}

    def _of_toml(self) -> Iterator[ModelTable]:
        for name, content in (self._toml_tables() if self._toml else {}).items():
            place = f"[{MODELS}.{name}] of {self._toml}"
            if not isinstance(content, dict):
                raise ConfigError(f"{place} must be a table")
            yield _table(name, content, place, keys())

    def _of_preset(self) -> Iterator[ModelTable]:
        path = self.settings.models_preset
        for name, content in ({} if path is None else _parse_preset(path)).items():
            yield _table(name, content, f"[{name}] of {path}", _preset_keys())


def arguments(given: Sequence[Given]) -> list[str]:
    """Flags that would give the same values."""
    by_field = {setting.field: setting for setting in settings()}
    words: list[str] = []
    for one in given:
        setting = by_field.get(one.field)
        if setting is not None:
            words += [max(setting.option.flags, key=len), str(one.value)]
    return words


def _joined(first: ModelTable | None, second: ModelTable) -> ModelTable:
    if first is None:
        return second
    return replace(
        second,
        given=(*first.given, *second.given),
        variants={**first.variants, **second.variants},
        load_on_startup=first.load_on_startup or second.load_on_startup,
        stop_timeout=max(first.stop_timeout, second.stop_timeout),
        hides_cached=first.hides_cached or second.hides_cached,
    )


def _parse_preset(path: Path) -> dict[str, dict[str, object]]:
    """The sections of an INI file, without the version at its beginning. Raises ConfigError."""
    reader = configparser.RawConfigParser(
        delimiters=("=",),
        comment_prefixes=(";", "#"),
        strict=False,
        default_section=_BEFORE_SECTIONS * 2,
    )
    reader.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        if path.stat().st_size > _MAX_PRESET_BYTES:
            raise ConfigError(f"the preset {path} is too large")
        text = path.read_text(encoding="utf-8-sig")
        reader.read_string(f"[{_BEFORE_SECTIONS}]\n{text}", source=str(path))
    except OSError as error:
        raise ConfigError(f"can't read the preset {path}: {error.strerror}") from None
    except (configparser.Error, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{path} is not an INI file: {reason}") from None
    unknown = set(reader[_BEFORE_SECTIONS]) - {"version"}
    if unknown:
        raise ConfigError(f"{min(unknown)} in {path} stands before the first section")
    return {
        name: {key: value for key, value in reader[name].items() if key != "version"}
        for name in reader.sections()
        if name != _BEFORE_SECTIONS
    }


def _preset_keys() -> dict[str, Meaning]:
    """The names of settings in a preset: flags without dashes, and variables."""
    return {flag.lstrip("-"): meaning for flag, meaning in flags().items()} | variables()


def _check_fit(given: Sequence[Given]) -> None:
    """Several models are laid out as the settings say, so that what they take is known before."""
    if (fit := last(given, "fit")) and canonical(fit.value) == "on":
        raise ConfigError(
            f"{fit.name} is for a server with one model; give each model its --ctx-size, "
            "--parallel and --n-gpu-layers, which `llamapack fit` tells"
        )


def _table(
    name: str, content: Mapping[str, object], place: str, known: Mapping[str, Meaning]
) -> ModelTable:
    """One table. Raises ConfigError that names the key and its place."""
    rest = {key.replace("-", "_"): value for key, value in content.items() if _is_own(key)}
    level = Level.MODELS if name == ALL else Level.MODEL
    given = _given({k: v for k, v in content.items() if not _is_own(k)}, place, known, level)
    _check_fit(given)
    for one in given:
        if one.field in _OF_THE_SERVER or (name == ALL and one.field in _OF_ONE_MODEL):
            scope = "each model" if one.field in _OF_ONE_MODEL else "the whole server"
            raise ConfigError(f"{one.name} is a setting of {scope}")
    plain, variants = _aliases(rest.get("aliases", ()), place, level)
    return ModelTable(
        name,
        (*given, *plain),
        variants,
        _switch(rest.get("load_on_startup", False), f"load_on_startup in {place}"),
        _seconds(rest.get("stop_timeout", STOP_SECONDS), f"stop_timeout in {place}"),
        _switch(rest.get("dedup_cache_models", False), f"dedup_cache_models in {place}"),
    )


def _is_own(key: str) -> bool:
    """Whether a key is about the model as one of several, and no setting."""
    own = ("aliases", "load_on_startup", "stop_timeout", "dedup_cache_models")
    return key.replace("-", "_") in own


def _given(
    content: Mapping[str, object], place: str, known: Mapping[str, Meaning], level: Level
) -> list[Given]:
    given = []
    for key, value in content.items():
        name = f"{key} in {place}"
        meaning = known.get(key) or known.get(key.replace("_", "-"))
        if meaning is None:
            raise ConfigError(f"unknown key {name}{closest(key, known)}")
        own = meaning.value(value, name)
        if own is not None and not isinstance(meaning.target, Refused):
            given.append(Given(meaning.target.field, own, name, level))
    return given


def _aliases(
    value: object, place: str, level: Level
) -> tuple[list[Given], dict[str, tuple[Given, ...]]]:
    """The plain aliases as a setting, and by name what other aliases change."""
    name = f"aliases in {place}"
    if isinstance(value, str | list | tuple):
        return ([Given("alias", value, name, level)] if value else []), {}
    if not isinstance(value, dict):
        raise ConfigError(f"{name} must be a list of names, or a table with a table for each")
    return [], {alias: _changes(alias, content, place) for alias, content in value.items()}


def _changes(alias: str, content: object, place: str) -> tuple[Given, ...]:
    if not isinstance(content, dict):
        raise ConfigError(f"the alias {alias} in {place} must be a table of settings")
    given = _given(content, f"the alias {alias} in {place}", keys(), Level.ALIAS)
    for one in given:
        if one.field not in _OF_REQUESTS:
            raise ConfigError(f"{one.name} is no setting of a request: it would need another load")
    return tuple(given)


def _switch(value: object, name: str) -> bool:
    try:
        return bool(to_switch(value))
    except ValueError as error:
        raise ConfigError(f"{name} {error}, got {value}") from None


def _seconds(value: object, name: str) -> float:
    seconds = seconds_of(value)
    if seconds is None or seconds < 0:
        raise ConfigError(f"{name} must be a number of seconds, got {value}")
    return seconds
