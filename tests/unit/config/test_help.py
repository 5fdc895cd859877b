"""The help text and the table in docs/settings.md agree with the declarations."""

import re

import pytest

from config.help import render_help
from config.llama_server_table import names, render_options
from config.names import settings
from config.refused import REFUSED
from config.table import (
    BEGIN,
    DOCUMENT,
    END,
    OPTIONS_BEGIN,
    OPTIONS_END,
    between_markers,
    render_table,
    with_table,
)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_help_names_every_flag_and_variable_and_keeps_the_width(width: int) -> None:
    text = render_help(width)
    for setting in settings():
        assert all(flag in text for flag in setting.option.flags)
        assert setting.env in text
    # A list of choices and a long flag stay in one piece, whatever the width.
    sentences = [line for line in text.splitlines() if " " in line.strip()]
    assert max(map(len, sentences)) <= max(width, 80)


def test_help_gives_defaults_and_choices() -> None:
    text = render_help(110)
    assert "[4, LLAMA_ARG_N_PARALLEL]" in text
    assert "[0.8, LLAMA_ARG_TEMPERATURE]" in text
    assert "none|layer|row|tensor" in text
    assert "cpu-laptop, gpu-server" in text


def test_help_is_bold_only_where_asked() -> None:
    assert "\033" not in render_help(80)
    assert "\033[1mModel\033[0m" in render_help(80, bold=True)


def test_the_table_has_a_row_for_every_setting() -> None:
    rows = [line for line in render_table().splitlines() if line.startswith("| `")]
    assert len(rows) == len(settings())
    assert all(row.replace("\\|", "").count("|") == 5 for row in rows)


def test_the_table_is_found_between_its_markers() -> None:
    assert between_markers(f"text\n{BEGIN}\n\nthe table\n{END}\nmore") == "the table\n"
    assert between_markers("no markers") is None


def test_a_new_table_replaces_the_old_one_and_nothing_else() -> None:
    assert with_table(f"text\n{BEGIN}\nold\n{END}\nmore", "new\n") == (
        f"text\n{BEGIN}\nnew\n{END}\nmore"
    )
    with pytest.raises(ValueError, match="lacks"):
        with_table("no markers", "new")


def test_the_document_has_the_table_of_these_declarations() -> None:
    shown = between_markers(DOCUMENT.read_text(encoding="utf-8"))
    assert shown == render_table(), "run `python -m config.table`"


def test_the_document_has_the_table_of_llama_servers_options() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    shown = between_markers(document, OPTIONS_BEGIN, OPTIONS_END)
    assert shown == render_options(), "run `python -m config.table`"


def test_each_flag_of_llama_server_is_in_the_table_once_and_the_counts_are_right() -> None:
    text = render_options()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    shown = [flag for row in rows for flag in re.findall("`(-[^`]*)`", row.split(" | ")[0])]
    assert sorted(shown) == sorted(name for name in names() if name.startswith("-"))
    counts = [int(number) for number in re.findall(r"\d+", text.splitlines()[0])]
    assert counts[0] == sum(counts[1:]) == len(rows)
    assert counts[3] == len(REFUSED)


def test_what_is_refused_is_less_than_thirty() -> None:
    assert len(REFUSED) < 30
