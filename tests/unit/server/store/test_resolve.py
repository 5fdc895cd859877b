"""The file that a server loads by its settings."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from config import load_settings
from server.startup import ModelFileError
from server.store import resolve
from server.store.resolve import resolve_draft, resolve_model
from tests.support.paths import DEMO_DRAFT


def write(path: Path) -> Path:
    shutil.copyfile(DEMO_DRAFT, path)
    return path


def test_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf")
    assert resolve_model(load_settings(["-m", str(path)], {}), {}) == path
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ModelFileError, match=r"m\.gguf is incomplete"):
        resolve_model(load_settings(["-m", str(path)], {}), {})


def test_without_a_model_the_demo_model_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = write(tmp_path / "demo.gguf")
    monkeypatch.setattr(resolve, "DEMO_MODEL", demo)
    assert resolve_model(load_settings([], {}), {}) == demo
    demo.unlink()
    with pytest.raises(ModelFileError, match=r"demo model .* is missing; name a model with"):
        resolve_model(load_settings([], {}), {})


def test_the_draft_model_is_checked_as_well(tmp_path: Path) -> None:
    path = write(tmp_path / "draft.gguf")
    assert resolve_draft(load_settings(["-md", str(path)], {}), {}) == path
    path.unlink()
    with pytest.raises(ModelFileError, match=r"^draft model: there is no file .*draft\.gguf"):
        resolve_draft(load_settings(["-md", str(path)], {}), {})


@pytest.mark.parametrize("flags", [[], ["-md", "none.gguf", "--spec-type", "none"]])
def test_a_draft_model_that_is_not_asked_is_not_looked_for(flags: list[str]) -> None:
    assert resolve_draft(load_settings(flags, {}), {}) is None
