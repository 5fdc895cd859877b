"""Flags that print something instead of serving."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Action:
    """What one of the flags prints."""

    name: str
    flags: tuple[str, ...]
    help: str


ACTIONS = (
    Action("help", ("-h", "--help", "--usage"), "print this help"),
    Action("version", ("--version",), "print the version"),
    Action("devices", ("--list-devices",), "print the devices that --device can name"),
    Action("models", ("-cl", "--cache-list"), "print the models that were downloaded before"),
    Action("completion", ("--completion-bash",), "print a script that completes flags in bash"),
)

_COMMANDS = "serve launch pull import list show rm rpc-server grammar"
"""The words that bash completes after `llamapack`."""


def asked_action(argv: Sequence[str]) -> str | None:
    """The name of the action that the flags ask for, if any; the first one counts."""
    known = {flag: action.name for action in ACTIONS for flag in action.flags}
    return next((known[argument] for argument in argv if argument in known), None)


def flags_of(name: str) -> tuple[str, ...]:
    """The flags that ask for an action."""
    return next(action.flags for action in ACTIONS if action.name == name)


def completion_script(flags: Iterable[str]) -> str:
    """A bash script that completes `llamapack serve` with flags, and values with file names."""
    return "\n".join(_script(" ".join(sorted(flags))))


def _script(words: str) -> Iterator[str]:
    yield "_llamapack() {"
    yield '    local word="${COMP_WORDS[COMP_CWORD]}"'
    yield "    COMPREPLY=()"
    yield '    if [ "$COMP_CWORD" -eq 1 ]; then'
    yield f'        COMPREPLY=($(compgen -W "{_COMMANDS}" -- "$word"))'
    yield '    elif [ "${COMP_WORDS[1]}" = serve ] && [ "${word:0:1}" = - ]; then'
    yield f"        COMPREPLY=($(compgen -W '{words}' -- \"$word\"))"
    yield "    fi"
    yield "}"
    yield "complete -o default -F _llamapack llamapack"
