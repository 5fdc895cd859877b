"""The help text and the table in docs/settings.md agree with the declarations."""

import pytest

from config.catalogue import settings
from config.help import render_help
from config.table import BEGIN, DOCUMENT, END, between_markers, render_table, with_table


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
    assert with_table(f"text\n{BEGIN}\nold\n{END}\nmore") == (
        f"text\n{BEGIN}\n{render_table()}{END}\nmore"
    )
    with pytest.raises(ValueError, match="lacks"):
        with_table("no markers")


def test_the_document_has_the_table_of_these_declarations() -> None:
    shown = between_markers(DOCUMENT.read_text(encoding="utf-8"))
    assert shown == render_table(), "run `python -m config.table`"
