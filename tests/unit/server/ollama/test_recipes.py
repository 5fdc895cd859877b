"""Made models: they are bounded, kept, and survive a broken file."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.errors import InvalidRequest
from server.ollama import recipes
from server.ollama.options import Options
from server.ollama.recipes import Recipe, RecipeBook


def made(name: str, **fields: object) -> Recipe:
    return Recipe.model_validate({"name": name, "base": "bob", "modified": 5.0, **fields})


def test_names_with_and_without_the_latest_tag_are_one() -> None:
    book = RecipeBook()
    book.put(made("mario:latest"))
    assert book.get("mario") is book.get("mario:latest") is not None
    assert book.get("mario:7b") is None
    book.put(made("mario", system="other"))
    assert [one.system for one in book.all()] == ["other"]
    assert book.remove("mario:latest")
    assert not book.remove("mario")


def test_their_number_and_size_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "MOST_RECIPES", 2)
    monkeypatch.setattr(recipes, "MOST_BYTES", 1000)
    book = RecipeBook()
    book.put(made("a"))
    book.put(made("b"))
    with pytest.raises(InvalidRequest, match="one too many"):
        book.put(made("c"))
    with pytest.raises(InvalidRequest, match="one too many"):
        book.put(made("b", system="x" * 1000))
    assert [one.name for one in book.all()] == ["a", "b"]
    assert book.all()[1].system == ""


def test_a_file_keeps_them(tmp_path: Path) -> None:
    path = tmp_path / "made.json"
    book = RecipeBook(path)
    book.put(made("mario", parameters=Options(seed=7), messages=[{"role": "user", "content": "é"}]))
    book.put(made("luigi"))
    book.remove("luigi")
    [again] = RecipeBook(path).all()
    assert again == book.get("mario")
    assert again.parameters.model_fields_set == {"seed"}
    assert [file.name for file in tmp_path.iterdir()] == ["made.json"]


@pytest.mark.parametrize("text", ["", "[", "{}", '[{"name": 5}]', '[{"name": "a"}]'])
def test_a_broken_file_is_said_and_left(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "made.json"
    path.write_text(text)
    assert RecipeBook(path).all() == []
    assert "made.json" in caplog.text
    assert path.read_text() == text


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    book = RecipeBook(tmp_path / "missing" / "made.json")
    with pytest.raises(InvalidRequest, match=r"made\.json"):
        book.put(made("mario"))
    assert book.all() == []
