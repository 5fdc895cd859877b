from __future__ import annotations

from pathlib import Path

import pytest

from grammars.cli import run


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("json ") for line in lines)
    assert len(lines) == 17


def test_a_right_grammar(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "date"]) == 0
    assert "is right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("2024-02-29", 0, "accepted"),
        ("2024-02-30", 1, "1:9: '3' is refused; possible: '0'-'2'"),
        ("2024-", 1, "1:6: the end of the text is refused; possible: '0'-'1'"),
        ("2024-02-29\n", 1, r"1:11: '\n' is refused; possible: the end"),
    ],
)
def test_texts(text: str, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "date", "--text", text]) == code
    assert said in capsys.readouterr().out


def test_lines_and_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = tmp_path / "answer.json"
    answer.write_text('{\n  "é": tru }')
    assert run(["check", "json", "--text-file", str(answer)]) == 1
    assert "2:11: ' ' is refused; possible: 'e'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.gbnf", 'root ::= "a" b', "x.gbnf:1:14: the rule 'b' is not defined"),
        ("x.json", '{"not": {}}', "x.json:/not: the keyword 'not' is not supported"),
        ("x.json", '{"not": ', "Expecting value"),
        ("x.lark", "start: b", 'unknown name: "b"'),
    ],
)
def test_wrong_grammars(
    name: str, content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert run(["check", str(path)]) == 2
    assert said in capsys.readouterr().err


def test_files_by_suffix(tmp_path: Path) -> None:
    for name, content, text in [
        ("x.json", '{"type": "integer"}', "12"),
        ("x.lark", 'start: "a"', "a"),
        ("x.gbnf", 'root ::= "a"', "a"),
    ]:
        (tmp_path / name).write_text(content)
        assert run(["check", str(tmp_path / name), "--text", text]) == 0


def test_a_grammar_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "nothing"]) == 2
    assert run(["check", "nothing.gbnf"]) == 2
    assert "no grammar named 'nothing'" in capsys.readouterr().err


def test_a_text_cannot_be_matched_against_tokens_of_a_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.gbnf"
    path.write_text('root ::= <think> "a"')
    assert run(["check", str(path)]) == 0
    assert run(["check", str(path), "--text", "a"]) == 2
    assert "takes a model's vocabulary" in capsys.readouterr().out
