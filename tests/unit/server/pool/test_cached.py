"""Stored models as models of a pool."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import ConfigError, ModelSources
from server.pool.entries import ModelSource, read_entries


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("HF_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for place in (
        "hub/models--u--r/snapshots/c0ffee/m-Q4_K_M.gguf",
        "hub/models--u--r/snapshots/c0ffee/m-Q8_0.gguf",
        "hub/models--u--r/refs/main",
        ".local/share/llamapack/models/mine.gguf",
        ".lmstudio/models/pub/model/other-Q8_0.gguf",
        "models/folder.gguf",
    ):
        file = tmp_path / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("c0ffee")
    return tmp_path


def sources_of(*argv: str) -> dict[str, ModelSource]:
    found = read_entries(ModelSources(argv, {}))
    return {name: entry.source for name, entry in found.items()}


def test_stored_models_are_served_by_their_names(home: Path) -> None:
    argv = ["--models-cache"]
    assert ModelSources(argv, {}).are_several
    assert sources_of(*argv) == {
        "mine": ModelSource.CACHE,
        "u/r:Q4_K_M": ModelSource.CACHE,
        "u/r:Q8_0": ModelSource.CACHE,
    }
    path = read_entries(ModelSources(argv, {}))["u/r:Q8_0"].path
    assert path is not None
    assert path.name == "m-Q8_0.gguf"


def test_without_the_flag_they_are_not(home: Path) -> None:
    assert sources_of("--models-dir", str(home / "models")) == {"folder": ModelSource.FOLDER}


@pytest.mark.parametrize(
    ("repo", "hidden"), [("u/r", "u/r:Q4_K_M"), ("u/r:Q8_0", "u/r:Q8_0"), ("u/r:q8_0", "u/r:Q8_0")]
)
@pytest.mark.parametrize("section", ["[*]", "[own]"])
def test_a_preset_hides_the_cached_model_that_it_names(
    home: Path, repo: str, hidden: str, section: str
) -> None:
    preset = home / "models.ini"
    preset.write_text(f"[own]\nhf-repo = {repo}\n{section}\ndedup-cache-models = true\n")
    found = sources_of("--models-cache", "--models-preset", str(preset))
    assert found.keys() == {"own", "mine", "u/r:Q4_K_M", "u/r:Q8_0"} - {hidden}


def test_a_preset_without_the_switch_hides_nothing(home: Path) -> None:
    preset = home / "models.ini"
    preset.write_text("[own]\nhf-repo = u/r\n[u/r:Q8_0]\nctx-size = 512\n")
    found = sources_of("--models-cache", "--models-preset", str(preset))
    assert found["u/r:Q4_K_M"] is ModelSource.CACHE
    assert found["u/r:Q8_0"] is ModelSource.PRESET


def test_one_model_and_the_cache_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="-m and --models-cache can't both be given"):
        ModelSources(["-m", "x.gguf", "--models-cache"], {})
