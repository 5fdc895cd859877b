"""Merges all sources of settings: preset, TOML file, variables and flags; the last one wins."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from config.coerce import unescape
from config.command_line import read_flags
from config.conflicts import check
from config.environment import read_environment
from config.errors import ConfigError
from config.presets import preset_path
from config.refused import IGNORED
from config.settings import ServeSettings
from config.sources import Given, Level
from config.speculation import active_methods
from config.toml_file import read_toml
from config.validation_message import describe

ORIGINS = ("hf_repo", "model_url", "docker_repo")
"""Where the model comes from. `model` of the same level says where the file is, or goes to."""

AS_NOT_GIVEN = "-1"
"""Of `parallel`: the slots are the default's, and how they are laid out is open."""

# Settings that exclude one another: the one from the higher level replaces the others.
ALTERNATIVES = (
    ("model", *ORIGINS),
    ("chat_template", "chat_template_file"),
    ("grammar", "grammar_file", "json_schema", "json_schema_file"),
)


def load_settings(
    argv: Sequence[str],
    environ: Mapping[str, str],
    notice: Callable[[str], object] = lambda _: None,
) -> ServeSettings:
    """The settings that the flags in `argv`, the environment and TOML files add up to.

    `argv` comes without the program's name and the subcommand. `notice` is called with one line
    for each option that has no effect. Raises ConfigError, one line that names the flag, the
    variable or the key at fault.
    """
    return settings_of(collect(argv, environ), notice)


def settings_of(
    given: Sequence[Given], notice: Callable[[str], object] = lambda _: None
) -> ServeSettings:
    """The settings that these values add up to, those of the lowest level first.

    Raises ConfigError as `load_settings` does.
    """
    merged = _merge(given)
    if (slots := merged.get("parallel")) and str(slots.value) == AS_NOT_GIVEN:
        del merged["parallel"]
    for option in IGNORED:
        if one := merged.pop(option.field, None):
            notice(f"{one.name} has no effect: {option.reason}")
    try:
        settings = ServeSettings.model_validate({g.field: g.value for g in merged.values()})
    except ValidationError as error:
        raise ConfigError(describe(error.errors()[0], merged)) from None
    check(settings, merged)
    has_draft = bool(settings.spec_draft_model or settings.spec_draft_hf)
    return settings.model_copy(
        update={
            "ubatch_size": min(settings.ubatch_size, settings.batch_size),
            "spec_type": active_methods(settings.spec_type, has_draft_model=has_draft),
            **_unescaped(settings, merged),
        }
    )


def _unescaped(settings: ServeSettings, given: Mapping[str, Given]) -> dict[str, object]:
    """The texts that were given, with their escapes read unless `--no-escape` forbids it."""
    if not settings.escape:
        return {}
    return {
        field: tuple(unescape(text) for text in getattr(settings, field))
        for field in ("dry_sequence_breakers", "reverse_prompt")
        if field in given
    }


def collect(argv: Sequence[str], environ: Mapping[str, str]) -> list[Given]:
    """All given values, those of the lowest level first."""
    given = read_environment(environ) + read_flags(argv)
    if file := last(given, "config"):
        given = read_toml(Path(str(file.value)).expanduser()) + given
    if preset := last(given, "preset"):
        given = read_toml(preset_path(str(preset.value), preset.name), Level.PRESET) + given
    return given


def last(given: Sequence[Given], field: str) -> Given | None:
    """The value that was given last for a field; None without one."""
    return next((one for one in reversed(given) if one.field == field), None)


def _merge(given: Sequence[Given]) -> dict[str, Given]:
    """The value that wins for each field. Raises ConfigError if two of one level disagree."""
    merged: dict[str, Given] = {}
    for one in given:
        for rival in _rivals(one, merged):
            if rival.level == one.level and _go_together(rival, one):
                continue
            if rival.level == one.level and not _agree(rival, one):
                raise ConfigError(f"{rival.name} and {one.name} can't both be given")
            del merged[rival.field]
            _drop_file_of(rival, one, merged)
        merged[one.field] = one
    return merged


def _drop_file_of(loser: Given, winner: Given, merged: dict[str, Given]) -> None:
    """A repository that is replaced takes its file with it, unless that was given later."""
    file = merged.get("hf_file")
    if loser.field == "hf_repo" and file is not None and file.level < winner.level:
        del merged["hf_file"]


def _rivals(one: Given, merged: dict[str, Given]) -> list[Given]:
    group = next((group for group in ALTERNATIVES if one.field in group), (one.field,))
    return [merged[field] for field in group if field in merged]


def _go_together(first: Given, second: Given) -> bool:
    """Whether one of the two names the model's file, and the other says where it comes from."""
    fields = (first.field, second.field)
    return "model" in fields and any(origin in fields for origin in ORIGINS)


def _agree(first: Given, second: Given) -> bool:
    return first.field == second.field and first.value == second.value
