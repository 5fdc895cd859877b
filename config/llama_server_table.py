"""The table of llama-server's options in docs/settings.md: what happens to each of them here."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from config.actions import ACTIONS
from config.names import Meaning, Setting, flags
from config.refused import Ignored, Refused

_NAMES = Path(__file__).with_name("llama_server_names.txt")


def names() -> list[str]:
    """The flags and variables of llama-server."""
    return _NAMES.read_text(encoding="utf-8").splitlines()[1:]


def render_options() -> str:
    """Markdown: the counts, and a table for each of the three kinds."""
    theirs = [name for name in names() if name.startswith("-")]
    accepted = [*_accepted(theirs), *_actions(theirs)]
    ignored = _foreign(theirs, Ignored)
    refused = _foreign(theirs, Refused)
    counts = (len(accepted), len(ignored), len(refused))
    lines = [
        f"Of llama-server's {sum(counts)} options, {counts[0]} are accepted, {counts[1]} are "
        f"accepted without effect, and {counts[2]} are refused.",
        *_table(f"Accepted ({counts[0]})", ("Option",), [(row,) for row in accepted]),
        *_table(f"Accepted without effect ({counts[1]})", ("Option", "Why"), ignored),
        *_table(f"Refused ({counts[2]})", ("Option", "Why, and what to do instead"), refused),
    ]
    return "\n".join(lines) + "\n"


def _accepted(theirs: list[str]) -> list[str]:
    """The flags of each setting, and of each other way to give it, as one row."""
    rows: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for name, meaning in _meanings(theirs).items():
        if isinstance(meaning.target, Setting):
            other = meaning.spelling.flags if meaning.spelling is not None else ()
            rows.setdefault((meaning.target.field, _positive(other)), []).append(name)
    return [_code(row) for row in rows.values()]


def _positive(other: tuple[str, ...]) -> tuple[str, ...]:
    """A spelling and its negative are one option: `--no-mmap` belongs to `--mmap`."""
    return tuple(flag.replace("--no-", "--") for flag in other)


def _actions(theirs: list[str]) -> list[str]:
    return [_code([flag for flag in one.flags if flag in theirs]) for one in ACTIONS]


def _foreign(theirs: list[str], kind: type[Refused | Ignored]) -> list[tuple[str, str]]:
    rows: dict[str, tuple[list[str], Refused | Ignored]] = {}
    for name, meaning in _meanings(theirs).items():
        if isinstance(meaning.target, kind):
            rows.setdefault(meaning.target.key, ([], meaning.target))[0].append(name)
    return [(_code(row), _reason(option)) for row, option in rows.values()]


def _reason(option: Refused | Ignored) -> str:
    if not (isinstance(option, Refused) and option.inert):
        return option.reason
    return f"{option.reason} (accepted: {', '.join(option.inert)})"


def _meanings(theirs: list[str]) -> Mapping[str, Meaning]:
    return {name: flags()[name] for name in theirs if name in flags()}


def _code(row: list[str]) -> str:
    return ", ".join(f"`{flag}`" for flag in row)


def _table(title: str, head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    yield from ("", f"**{title}**", "", _row(head), _row(("---",) * len(head)).replace(" ", ""))
    yield from (_row(tuple(cell.replace("|", "\\|") for cell in row)) for row in rows)


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"
