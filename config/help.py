"""The help text of `llamapack serve`, made from the declarations."""

import textwrap
from collections.abc import Iterator
from typing import Literal, get_args, get_origin

from config.actions import ACTIONS
from config.names import Setting, settings
from config.option import Group, Option, Spelling
from config.presets import preset_names
from config.refused import IGNORED
from config.settings import ServeSettings

_COLUMN = 34
_NARROWEST = 60
_WIDEST = 110

_USAGE = "usage: llamapack serve [flags]"
_ACTIONS = "Instead of serving"
_IGNORED = "Accepted for llama-server's sake, without effect"
_INTRO = (
    "Serve a GGUF model over HTTP. Without a model the embedded demo model is served.",
    "Each entry ends in its [default, variable]. A flag beats its variable, which beats the TOML "
    "file of --config, which beats the --preset. Every long switch has its opposite, --no-NAME; "
    "its variable takes true, 1, on, enabled, false, 0, off or disabled.",
)


def render_help(width: int, bold: bool = False) -> str:
    """The help text for a terminal of `width` columns; `bold` prints headings in bold."""
    width = max(_NARROWEST, min(width, _WIDEST))
    lines = [_USAGE]
    for paragraph in _INTRO:
        lines += ["", *_wrapped(paragraph, width)]
    for group in Group:
        lines += ["", _heading(group, bold)]
        for setting in settings():
            if setting.option.group is group:
                lines += _entry(setting, width)
    lines += ["", _heading(_ACTIONS, bold)]
    for action in ACTIONS:
        lines += _columns(", ".join(action.flags), action.help, "", width)
    lines += ["", _heading(_IGNORED, bold)]
    for option in IGNORED:
        metavar = " N" if option.takes_value else ""
        details = f"[{option.env}]" if option.env else ""
        lines += _columns(", ".join(option.flags) + metavar, option.reason, details, width)
    return "\n".join(lines)


def _heading(text: str, bold: bool) -> str:
    return f"\033[1m{text}\033[0m" if bold else text


def default_text(setting: Setting) -> str:
    """The default as a user would write it; empty if there is no default."""
    option, default = setting.option, ServeSettings.model_fields[setting.field].default
    if option.default_text:
        return option.default_text
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        return ",".join(str(item) for item in default)
    if isinstance(default, float):
        return f"{default:g}"
    return "" if default in (None, {}) else str(default)


def description(option: Option) -> str:
    """The help sentence, with the names of the presets filled in."""
    return option.help.replace("{presets}", ", ".join(preset_names()))


def choices_text(setting: Setting) -> str:
    """The words that a choice takes, as `a|b|c`; empty for other settings."""
    annotation = ServeSettings.model_fields[setting.field].annotation
    literals = [part for part in (annotation, *get_args(annotation)) if get_origin(part) is Literal]
    return "|".join(str(word) for literal in literals for word in get_args(literal))


def _entry(setting: Setting, width: int) -> Iterator[str]:
    option = setting.option
    flags = ", ".join(option.flags) + (f" {option.metavar}" if option.metavar else "")
    yield from _columns(flags, _sentence(setting), _details(setting), width)
    for spelling in option.spellings:
        env = f"[{spelling.env}]" if spelling.env else ""
        yield from _columns(_spelled(spelling), spelling.help, env, width)


def _sentence(setting: Setting) -> str:
    words = "" if setting.option.metavar == "on|off|auto" else choices_text(setting)
    return description(setting.option) + (f": {words}" if words else "")


def _details(setting: Setting) -> str:
    default = default_text(setting)
    return f"[{default}, {setting.env}]" if default else f"[{setting.env}]"


def _spelled(spelling: Spelling) -> str:
    return ", ".join(spelling.flags) + (f" {spelling.metavar}" if spelling.convert else "")


def _columns(left: str, sentence: str, details: str, width: int) -> Iterator[str]:
    """Lines with the flags in the left column, and the sentence and the details in the right."""
    room = width - _COLUMN
    text = _wrapped(sentence, room)
    if details and len(text[-1]) + 1 + len(details) <= room:
        text[-1] += f" {details}"
    elif details:
        text += _wrapped(details, room)
    left = f"  {left}"
    if len(left) > _COLUMN - 2:
        yield left
        left = ""
    yield f"{left:<{_COLUMN}}{text[0]}"
    yield from (" " * _COLUMN + line for line in text[1:])


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
