"""A chat in the terminal: what is typed, what is asked, what is shown."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from server.client.errors import AnswerError
from server.client.server_client import ServerClient
from server.startup import CommandError
from server.terminal.chat import talk
from server.terminal.conversation import Conversation
from server.terminal.screen import Screen
from server.terminal.slash import Chat, words
from server.terminal.typed_lines import TypedLines


@dataclass
class Desk:
    """A user's lines, and a server that answers each question with the next chunks."""

    lines: list[Any]
    answers: list[list[Any]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    shown: io.StringIO = field(default_factory=io.StringIO)

    def chat(self, conversation: Conversation | None = None, *, colors: bool = False) -> Chat:
        chat = Chat(conversation or Conversation("m"), say=self.said.append)
        screen = Screen(self.shown, is_terminal=True, colors=colors, thinking=True)
        talk(_Client(self), chat, TypedLines(self._type), screen)
        return chat

    def _type(self, _: str) -> str:
        if not self.lines:
            raise EOFError
        line = self.lines.pop(0)
        if isinstance(line, type):
            raise line
        return str(line)


class _Client(ServerClient):
    def __init__(self, desk: Desk) -> None:
        object.__setattr__(self, "desk", desk)
        super().__init__("http://nowhere")

    def chat(self, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        desk: Desk = object.__getattribute__(self, "desk")
        desk.asked.append(json.loads(json.dumps(body)))
        for part in desk.answers.pop(0):
            if isinstance(part, BaseException):
                raise part
            yield part if isinstance(part, dict) else {"choices": [{"delta": {"content": part}}]}


def thought(text: str) -> dict[str, Any]:
    return {"choices": [{"delta": {"reasoning_content": text}}]}


USAGE = {
    "choices": [],
    "usage": {
        "prompt_tokens": 20,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 16},
    },
    "timings": {"prompt_per_second": 100.0, "predicted_per_second": 50.0},
}


def test_the_conversation_grows() -> None:
    desk = Desk(["Hello", "And?"], [["Hi", " there"], ["More"]])
    desk.chat()
    assert desk.asked[1]["messages"] == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi there"},
        {"role": "user", "content": "And?"},
    ]
    assert desk.shown.getvalue() == "Hi there\nMore\n"


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (['"""one', "two", 'three"""'], "one\ntwo\nthree"),
        (['"""', "one", "", "two", '"""'], "one\n\ntwo"),
        (['"""all in one line"""'], "all in one line"),
        (["one\\", "two\\", "three"], "one\ntwo\nthree"),
        (["pasted\ntwo lines"], "pasted\ntwo lines"),
        ([" /not a command"], " /not a command"),
    ],
)
def test_several_lines_are_one_question(lines: list[Any], text: str) -> None:
    desk = Desk(lines, [["yes"]])
    desk.chat()
    assert [one["messages"] for one in desk.asked] == [[{"role": "user", "content": text}]]


def test_empty_lines_ask_nothing() -> None:
    desk = Desk(["", "   "])
    desk.chat()
    assert desk.asked == []


def test_ctrl_c_stops_an_answer_and_not_the_chat() -> None:
    desk = Desk(["Count", "go on"], [["one", "two", KeyboardInterrupt()], ["three"]])
    chat = desk.chat()
    assert chat.conversation.messages[1] == {"role": "assistant", "content": "onetwo"}
    assert "stopped" in desk.shown.getvalue()
    assert len(desk.asked) == 2


def test_ctrl_c_drops_the_line_that_is_typed() -> None:
    desk = Desk([KeyboardInterrupt, "Hello", "/bye", "never"], [["Hi"]])
    desk.chat()
    assert len(desk.asked) == 1
    assert "/bye" in desk.said[0]


def test_ctrl_c_in_a_command_does_not_end_the_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Conversation, path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Conversation, "save", interrupted)
    desk = Desk(["/save x", "Hello"], [["Hi"]])
    desk.chat()
    assert len(desk.asked) == 1


def test_an_error_leaves_the_chat_as_it_was() -> None:
    desk = Desk(["too long", "short"], [[AnswerError("the context is full")], ["ok"]])
    chat = desk.chat()
    assert "error: the context is full" in desk.shown.getvalue()
    assert [one["content"] for one in chat.conversation.messages] == ["short", "ok"]


def test_thinking_is_dimmed_and_parted_from_the_answer() -> None:
    parts = [thought("let me"), thought(" see"), "Paris"]
    dimmed = Desk(["q"], [parts])
    dimmed.chat(colors=True)
    assert dimmed.shown.getvalue() == "\x1b[2mlet me see\x1b[0m\n\nParis\n"
    plain = Desk(["q"], [parts])
    plain.chat()
    assert plain.shown.getvalue() == "[thinking]\nlet me see\n\n[answer]\nParis\n"


def test_an_answer_that_ends_while_thinking_leaves_no_dim_screen() -> None:
    desk = Desk(["q"], [[thought("hm"), KeyboardInterrupt()]])
    desk.chat(colors=True)
    shown = desk.shown.getvalue()
    assert shown.rfind("\x1b[0m") > shown.rfind("hm")


def test_an_answer_cannot_control_the_terminal() -> None:
    desk = Desk(["q"], [["a\x1b[2Jb\x9b31mc\rd\te\nf"]])
    desk.chat(colors=True)
    shown = desk.shown.getvalue()
    assert not any(mark in shown for mark in "\x1b\x9b\r")
    assert shown.endswith("d\te\nf\n".replace("\r", "")) or "\te\nf" in shown


def test_fields_are_set_shown_and_left_to_the_server() -> None:
    desk = Desk(
        ["/set temperature 0", "/set", '/set stop ["x"]', "q", "/set temperature default", "q2"],
        [["a"], ["b"]],
    )
    desk.chat()
    assert desk.asked[0]["temperature"] == 0
    assert desk.asked[0]["stop"] == ["x"]
    assert "temperature" not in desk.asked[1]
    assert "temperature 0" in desk.said


@pytest.mark.parametrize("name", ["messages", "stream", "model", "Temperature", "a-b"])
def test_fields_of_the_conversation_cannot_be_set(name: str) -> None:
    with pytest.raises(CommandError, match="can't be set"):
        Conversation("m").set_field(name, "1")


def test_the_system_prompt_comes_first_and_clear_keeps_it() -> None:
    desk = Desk(["/system Be brief", "q", "/clear", "q2", '/system ""', "q3"], [["a"]] * 3)
    desk.chat()
    first, second, third = (one["messages"] for one in desk.asked)
    assert first[0] == second[0] == {"role": "system", "content": "Be brief"}
    assert len(second) == 2
    assert third[0]["role"] == "user"


def test_a_conversation_is_saved_and_loaded(tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    lines = ["/system S", "/set seed 7", "Hello", f"/save {file}"]
    Desk(lines, [["Hi"]]).chat()
    desk = Desk([f"/load {file}", "more"], [["yes"]])
    desk.chat(Conversation("another"))
    assert desk.asked[0]["model"] == "another"
    assert desk.asked[0]["seed"] == 7
    assert [one["content"] for one in desk.asked[0]["messages"]] == ["S", "Hello", "Hi", "more"]


@pytest.mark.parametrize("content", ["{}", "[]", "no json", '{"system": "", "fields": {}}'])
def test_other_files_are_not_loaded(content: str, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text(content)
    conversation = Conversation("m", messages=[{"role": "user", "content": "kept"}])
    with pytest.raises(CommandError, match="no conversation"):
        conversation.load(file)
    assert conversation.messages[0]["content"] == "kept"


def test_retry_asks_again() -> None:
    desk = Desk(["Hello", "/retry"], [["one"], ["two"]])
    chat = desk.chat()
    assert desk.asked[0] == desk.asked[1]
    assert [one["content"] for one in chat.conversation.messages] == ["Hello", "two"]


def test_stats_of_the_last_answer() -> None:
    desk = Desk(["/stats", "q", "/stats"], [["a", USAGE]])
    desk.chat()
    assert "no answer yet" in desk.said[0]
    assert "20 tokens of prompt (16 cached) at 100.0/s, 5 of answer at 50.0/s" in desk.said[1]


def test_unknown_commands_are_named_and_known_ones_are_listed() -> None:
    desk = Desk(["/nothing", "/help"])
    desk.chat()
    assert "there is no /nothing" in desk.shown.getvalue()
    helped = "\n".join(desk.said)
    assert all(word in helped for word in ("/set", "/system", "/clear", "/save", "/load", "/bye"))
    assert "/help" in words()


def test_output_that_is_no_terminal_is_plain() -> None:
    out = io.StringIO()
    screen = Screen(out, is_terminal=False, colors=True, thinking=True)
    screen.thinking("hm")
    screen.content("a\x1bb")
    screen.end()
    assert out.getvalue() == "a\x1bb\n"
