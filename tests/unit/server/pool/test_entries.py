"""Which models a server has, by what its folder, its files and the store say."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import ConfigError, ModelSources
from server.pool.entries import ModelEntry, models_in, read_entries, read_one


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"GGUF")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A user without models."""
    home = tmp_path / "home"
    folders = {"XDG_CACHE_HOME": "cache", "XDG_DATA_HOME": "data", "HF_HOME": "hub"}
    return {"HOME": str(home), **{name: str(home / path) for name, path in folders.items()}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "models"
    path.mkdir()
    return path


def entries(environ: dict[str, str], *argv: str) -> dict[str, ModelEntry]:
    return read_entries(ModelSources(argv, {}), environ)


def test_a_folder_has_files_and_folders_with_one_model(folder: Path) -> None:
    touch(folder, "one.gguf", "two/model.gguf", "two/MMPROJ-F16.gguf", "mtp-draft.gguf")
    touch(folder, "big/big-00001-of-00002.gguf", "big/big-00002-of-00002.gguf")
    touch(folder, "flat-00001-of-00002.gguf", "flat-00002-of-00002.gguf")
    touch(folder, "notes.txt", "empty/readme.md", "eyes/mmproj.gguf")
    found = models_in(folder)
    assert {name: path.name for name, path in found.items()} == {
        "big": "big-00001-of-00002.gguf",
        "flat": "flat-00001-of-00002.gguf",
        "one": "one.gguf",
        "two": "model.gguf",
    }


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        models_in(tmp_path / "missing")


def test_a_section_changes_a_model_of_the_folder(
    folder: Path, tmp_path: Path, environ: dict[str, str]
) -> None:
    touch(folder, "one.gguf", "two.gguf")
    preset = tmp_path / "p.ini"
    preset.write_text("[*]\nc = 512\n[one]\nc = 1024\nkeep-alive = -1\nalias = first,uno\n")
    found = entries(environ, "--models-dir", str(folder), "--models-preset", str(preset))
    one, two = found["one"], found["two"]
    assert (one.settings.ctx_size, two.settings.ctx_size) == (1024, 512)
    assert one.path == folder / "one.gguf"
    assert (one.is_pinned, two.is_pinned) == (True, False)
    assert one.aliases == ("first", "uno")
    assert (one.source.value, two.source.value) == ("preset", "models_dir")
    assert str(folder) not in " ".join(one.arguments), "clients see these"
    assert one.parameters["ctx_size"] == "1024"


def test_downloaded_models_are_served_unless_a_preset_hides_them(
    folder: Path, tmp_path: Path, environ: dict[str, str]
) -> None:
    store = Path(environ["XDG_DATA_HOME"]) / "llamapack" / "models"
    touch(store, "mine.gguf")
    found = entries(environ, "--models-dir", str(folder), "--models-cache")
    assert [(name, one.source.value) for name, one in found.items()] == [("mine", "cache")]
    preset = tmp_path / "p.ini"
    preset.write_text(f"[same]\nmodel = {store}/mine.gguf\n")
    flags = ("--models-cache", "--models-preset", str(preset))
    assert set(entries(environ, *flags)) == {"mine", "same"}
    preset.write_text(f"[*]\ndedup-cache-models = true\n[same]\nmodel = {store}/mine.gguf\n")
    assert set(entries(environ, *flags)) == {"same"}


def test_a_name_without_a_file_is_a_repository_or_an_error(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    preset = tmp_path / "p.ini"
    preset.write_text("[user/repo:Q4_K_M]\nc = 64\n")
    (entry,) = entries(environ, "--models-preset", str(preset)).values()
    assert (entry.settings.hf_repo, entry.path) == ("user/repo:Q4_K_M", None)
    preset.write_text("[nothing]\nc = 64\n")
    with pytest.raises(ConfigError, match="nothing has no file"):
        entries(environ, "--models-preset", str(preset))


def test_two_models_can_not_have_one_name(tmp_path: Path, environ: dict[str, str]) -> None:
    preset = tmp_path / "p.ini"
    preset.write_text("[a]\nmodel = a.gguf\nalias = x\n[b]\nmodel = b.gguf\nalias = x\n")
    with pytest.raises(ConfigError, match="x is a name of a and of b"):
        entries(environ, "--models-preset", str(preset))


def test_an_alias_keeps_the_names_of_its_model(tmp_path: Path, environ: dict[str, str]) -> None:
    path = tmp_path / "c.toml"
    path.write_text(
        '[models.m]\nmodel = "m.gguf"\n[models.m.aliases."m:high"]\nreasoning_effort = "high"\n'
    )
    entry = entries(environ, "--config", str(path))["m"]
    assert entry.aliases == ("m:high",)
    variant = entry.variants["m:high"]
    assert (variant.reasoning_effort, variant.alias) == ("high", ("m:high", "m"))


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["-m", "/models/chat.gguf"], "chat"),
        (["-m", "chat.gguf", "-a", "helper"], "helper"),
        ([], "demo-target"),
    ],
)
def test_one_model_that_sleeps_has_the_name_it_always_had(argv: list[str], name: str) -> None:
    sources = ModelSources([*argv, "--sleep-idle-seconds", "5"], {})
    assert sources.need_pool
    (entry,) = read_one(sources).values()
    assert (entry.name, entry.keep_alive) == (name, 5.0)
