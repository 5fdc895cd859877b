"""Thinking and answer are separated for every division of the text into pieces."""

from __future__ import annotations

import pytest

from server.parsers.events import AnswerEvent, Content, PlainText, Reasoning
from server.parsers.reasoning import ReasoningMarkers, ReasoningSplitter, detect_markers

THINK = ReasoningMarkers("<think>", "</think>")


def split(text: str, size: int, *, is_open: bool = False) -> tuple[str, str]:
    """(thinking, answer) of a text that comes in pieces of `size` characters."""
    splitter = ReasoningSplitter(THINK, PlainText(), is_open=is_open)
    events: list[AnswerEvent] = []
    for start in range(0, len(text), size):
        events += splitter.feed(text[start : start + size])
    events += splitter.finish()
    thinking = "".join(event.text for event in events if isinstance(event, Reasoning))
    return thinking, "".join(event.text for event in events if isinstance(event, Content))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>\nHm.\n</think>\n\nYes.", ("Hm.", "Yes.")),
        ("\n<think>a b</think>c", ("a b", "c")),
        ("<think>\n\n</think>\n\nYes. ", ("", "Yes. ")),
        ("<think>a </think b\n\nc</think>d", ("a </think b\n\nc", "d")),
        ("<think>never ends ", ("never ends", "")),
        ("<think>ends with </thi", ("ends with </thi", "")),
        ("No thinking at all.", ("", "No thinking at all.")),
        (" <b>bold</b>", ("", " <b>bold</b>")),
        ("I like <think>tags</think>.", ("", "I like <think>tags</think>.")),
        ("<think>a</think>b <think>c</think>", ("a", "b <think>c</think>")),
        ("<thi", ("", "<thi")),
        ("", ("", "")),
    ],
)
def test_split(text: str, size: int, expected: tuple[str, str]) -> None:
    assert split(text, size) == expected


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\nHm.\n</think>\n\nYes.", ("Hm.", "Yes.")),
        ("</think>Yes.", ("", "Yes.")),
        ("Hm.", ("Hm.", "")),
    ],
)
def test_prompt_that_ends_in_the_thinking(text: str, size: int, expected: tuple[str, str]) -> None:
    assert split(text, size, is_open=True) == expected


def test_text_is_passed_on_at_once() -> None:
    splitter = ReasoningSplitter(THINK, PlainText())
    assert splitter.feed("<think>a") == [Reasoning("a")]
    assert splitter.feed(" b") == [Reasoning(" b")]
    assert splitter.feed("</think>c") == [Content("c")]
    assert splitter.feed(" ") == [Content(" ")]


@pytest.mark.parametrize(
    ("source", "opening"),
    [
        ("…<think>\n\n</think>…", "<think>"),
        ("{{ '[THINK]' + t + '[/THINK]' }}", "[THINK]"),
        ("<|START_THINKING|><|END_THINKING|>", "<|START_THINKING|>"),
        ("<seed:think></seed:think> and </think>", "<seed:think>"),
        ("no thinking", None),
    ],
)
def test_markers_are_found_in_templates(source: str, opening: str | None) -> None:
    markers = detect_markers(source)
    assert (markers.opening if markers else None) == opening


def test_how_prompts_and_messages_end() -> None:
    assert THINK.opened_by("<|assistant|><think>\n")
    assert not THINK.opened_by("<|assistant|><think></think>")
    assert THINK.left_open_in("<think>Let me")
    assert not THINK.left_open_in("<think>a</think>b")
