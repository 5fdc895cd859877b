"""Reads the command line into given values."""

from collections.abc import Iterator, Sequence

from config.errors import ConfigError
from config.names import Meaning, Setting, closest, flags
from config.refused import Refused
from config.sources import Given, Level


def read_flags(argv: Sequence[str]) -> list[Given]:
    """The values that the flags in `argv` give; `argv` has no program name and no subcommand.

    As in llama-server, flags must be spelled out, `_` may stand for `-` in a long flag, and
    the last of several wins; unlike there, `--flag=value` works and a repeatable flag adds up.
    Raises ConfigError for an unknown or refused flag, a missing or a superfluous value.
    """
    given: dict[tuple[str, str], Given] = {}
    for name, meaning, text in _tokens(list(argv)):
        value = meaning.value(text, name)
        target = meaning.target
        if value is None or isinstance(target, Refused):
            continue
        # One entry for each spelling, so that two spellings that disagree can be told apart.
        key = (target.field, name if meaning.spelling else "")
        if isinstance(target, Setting) and target.option.repeatable:
            earlier = given[key].value if key in given else []
            assert isinstance(earlier, list)
            value = [*earlier, value]
        given[key] = Given(target.field, value, name, Level.FLAG)
    return list(given.values())


def _tokens(argv: list[str]) -> Iterator[tuple[str, Meaning, str | None]]:
    position = 0
    while position < len(argv):
        name, meaning, value = _split(argv[position])
        position += 1
        if meaning.takes_value and value is None:
            end = position + meaning.num_values
            value = ",".join(_following(argv, at, name) for at in range(position, end))
            position = end
        elif not meaning.takes_value and value is not None:
            raise ConfigError(f"{name} takes no value, got {value}")
        yield name, meaning, value


def _split(argument: str) -> tuple[str, Meaning, str | None]:
    """A flag, its meaning and the value after `=`, if there is one."""
    name, found, value = argument.partition("=")
    if not argument.startswith("-"):
        raise ConfigError(f"unexpected argument {argument!r}; settings are given as flags")
    name = "--" + name[2:].replace("_", "-") if name.startswith("--") else name
    meaning = flags().get(name)
    if meaning is None:
        raise ConfigError(f"unknown flag {name}{closest(name, flags())}")
    return name, meaning, value if found else None


def _following(argv: list[str], position: int, name: str) -> str:
    if position >= len(argv) or argv[position].partition("=")[0] in flags():
        raise ConfigError(f"{name} needs a value")
    return argv[position]
