"""The tables of flags in docs/settings.md: `python -m config.table` writes them there."""

from collections.abc import Iterator
from pathlib import Path

from config.help import choices_text, default_text, description
from config.llama_server_table import render_options
from config.names import Setting, settings
from config.option import Group

BEGIN = "<!-- flags:begin -->"
END = "<!-- flags:end -->"
OPTIONS_BEGIN = "<!-- llama-server:begin -->"
OPTIONS_END = "<!-- llama-server:end -->"
DOCUMENT = Path(__file__).parents[1] / "docs" / "settings.md"


def render_table() -> str:
    """One Markdown table for each group of settings."""
    return "\n".join(line for group in Group for line in _table(group)).strip() + "\n"


def between_markers(text: str, begin: str = BEGIN, end: str = END) -> str | None:
    """The text between two markers of a Markdown document; None if a marker is missing."""
    _, has_begin, rest = text.partition(begin)
    table, has_end, _ = rest.partition(end)
    return table.strip() + "\n" if has_begin and has_end else None


def with_table(text: str, table: str, begin: str = BEGIN, end: str = END) -> str:
    """The Markdown document with a new table. Raises ValueError if it lacks a marker."""
    before, has_begin, rest = text.partition(begin)
    _, has_end, after = rest.partition(end)
    if not (has_begin and has_end):
        raise ValueError(f"the document lacks {begin} or {end}")
    return f"{before}{begin}\n{table}{end}{after}"


def _table(group: Group) -> Iterator[str]:
    yield f"**{group}**"
    yield ""
    yield "| Flag | Variable | Default | Meaning |"
    yield "|---|---|---|---|"
    for setting in settings():
        if setting.option.group is group:
            yield _row(setting)
    yield ""


def _row(setting: Setting) -> str:
    flags = ", ".join(f"`{flag}`" for flag in _flags(setting))
    words = choices_text(setting)
    meaning = description(setting.option) + (f" ({words})" if words else "")
    cells = (flags, f"`{setting.env}`", _default(setting), meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _flags(setting: Setting) -> list[str]:
    others = [flag for spelling in setting.option.spellings for flag in spelling.flags]
    return [*setting.option.flags, *setting.negative, *others]


def _default(setting: Setting) -> str:
    text = default_text(setting)
    return text if setting.option.default_text or not text else f"`{text}`"


if __name__ == "__main__":
    document = with_table(DOCUMENT.read_text(encoding="utf-8"), render_table())
    document = with_table(document, render_options(), OPTIONS_BEGIN, OPTIONS_END)
    DOCUMENT.write_text(document, encoding="utf-8")
