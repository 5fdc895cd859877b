"""The grammars that are shipped with llamapack."""

from __future__ import annotations

import functools
from importlib import resources

import msgspec

from grammars.errors import GrammarError

_SUFFIX = ".gbnf"


class NamedGrammar(msgspec.Struct, frozen=True):
    """A shipped grammar: its name, what it describes in a sentence, and its GBNF text."""

    name: str
    summary: str
    text: str


@functools.cache
def shipped() -> dict[str, NamedGrammar]:
    """All shipped grammars by name, in alphabetical order."""
    files = resources.files("grammars").iterdir()
    names = sorted(file.name.removesuffix(_SUFFIX) for file in files if file.name.endswith(_SUFFIX))
    return {name: _read(name) for name in names}


def find(name: str) -> NamedGrammar:
    """The shipped grammar of that name. Raises `GrammarError` if there is none."""
    try:
        return shipped()[name]
    except KeyError:
        known = ", ".join(shipped())
        raise GrammarError(f"there is no grammar named {name!r}; there are {known}") from None


def _read(name: str) -> NamedGrammar:
    text = (resources.files("grammars") / f"{name}{_SUFFIX}").read_text("utf-8")
    return NamedGrammar(name, _summary(text), text)


def _summary(text: str) -> str:
    """The comment at the beginning of a grammar."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return " ".join(lines)
