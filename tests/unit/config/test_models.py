"""The settings of several models: presets, tables, what wins over what, and errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import ConfigError, ModelSources, ServeSettings
from config.models import ALL, ModelTable

README = """version = 1

; (Optional) global settings
[*]
c = 8192
n-gpu-layers = 8

[ggml-org/MY-MODEL-GGUF:Q8_0]
; string value
chat-template = chatml
; numeric value
n-gpu-layers = 123
jinja = true
; shorthand argument (for example, context size)
c = 4096
; environment variable name
LLAMA_ARG_CACHE_RAM = 0
model-draft = ./my-models/draft.gguf
model-draft = /models/draft.gguf

[custom_model]
model = /models/my-awesome-model-Q4_K_M.gguf
load-on-startup = true
stop-timeout = 3
"""


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    path = tmp_path / "models.ini"
    path.write_text(README)
    return path


def settings(sources: ModelSources, name: str, alias: str = "") -> ServeSettings:
    tables = sources.tables()
    return sources.settings_of(tables.get(ALL, ModelTable(ALL)), tables[name], alias=alias)


def error(path: Path, text: str) -> str:
    path.write_text(text)
    flag = "--models-preset" if path.suffix == ".ini" else "--config"
    with pytest.raises(ConfigError) as caught:
        ModelSources([flag, str(path)], {}).tables()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_preset_of_llama_server_is_understood(preset: Path) -> None:
    sources = ModelSources(["--models-preset", str(preset)], {})
    assert sources.are_several
    first = settings(sources, "ggml-org/MY-MODEL-GGUF:Q8_0")
    assert (first.ctx_size, first.n_gpu_layers, first.cache_ram) == (4096, 123, 0)
    assert (first.chat_template, first.spec_draft_model) == ("chatml", Path("/models/draft.gguf"))
    custom = settings(sources, "custom_model")
    assert (custom.ctx_size, custom.n_gpu_layers) == (8192, 8)
    table = sources.tables()["custom_model"]
    assert (table.load_on_startup, table.stop_timeout) == (True, 3.0)


def test_flags_win_over_presets_which_win_over_variables(preset: Path) -> None:
    argv = ["--models-preset", str(preset), "--ctx-size", "512"]
    environ = {"LLAMA_ARG_N_GPU_LAYERS": "1", "LLAMA_ARG_N_PARALLEL": "3"}
    found = settings(ModelSources(argv, environ), "custom_model")
    assert (found.ctx_size, found.n_gpu_layers, found.parallel) == (512, 8, 3)


def test_tables_of_the_toml_file_are_models_too(tmp_path: Path) -> None:
    path = tmp_path / "llamapack.toml"
    path.write_text(
        'temp = 0.5\n[models.qwen]\nmodel = "/m/qwen.gguf"\nctx_size = 2048\nkeep_alive = "5m"\n'
        '[models.qwen.aliases."qwen:high"]\nreasoning_effort = "high"\ntemp = 1.0\n'
        '[models.other]\nmodel = "/m/other.gguf"\naliases = ["o", "p"]\n'
    )
    sources = ModelSources(["--config", str(path)], {})
    assert sources.are_several
    plain, high = settings(sources, "qwen"), settings(sources, "qwen", "qwen:high")
    assert (plain.temp, plain.reasoning_effort, plain.sleep_idle_seconds) == (0.5, "default", 300)
    assert (high.temp, high.reasoning_effort, high.ctx_size) == (1.0, "high", 2048)
    assert settings(sources, "other").alias == ("o", "p")


def test_without_models_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "llamapack.toml"
    path.write_text("temp = 0.5\n")
    assert not ModelSources(["--config", str(path)], {}).are_several
    assert not ModelSources(["-m", "m.gguf"], {}).are_several


@pytest.mark.parametrize("origin", [["-m", "m.gguf"], ["-hf", "u/r"]])
def test_one_model_and_several_exclude_each_other(preset: Path, origin: list[str]) -> None:
    with pytest.raises(ConfigError, match="can't both be given"):
        ModelSources(["--models-preset", str(preset), *origin], {})


def test_topics_of_several_models_name_the_model(preset: Path) -> None:
    flags = ["--kv-events-endpoint", "tcp://*:5557", "--kv-events-topic", "kv@{host}"]
    with pytest.raises(ConfigError, match=r"--kv-events-topic needs the place \{model\}"):
        ModelSources(["--models-preset", str(preset), *flags], {})
    assert ModelSources(["-m", "m.gguf", "--sleep-idle-seconds", "60", *flags], {}).need_pool
    assert ModelSources(["--models-preset", str(preset), *flags[:2]], {}).are_several


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[a]\nctx-sizes = 5\n", "unknown key ctx-sizes in [a]"),
        ("[a]\nctx-sizes = 5\n", "did you mean ctx-size?"),
        ("c = 5\n[a]\n", "c in"),
        ("[a]\nhost = 0.0.0.0\n", "is a setting of the whole server"),
        ("[*]\nmodel = a.gguf\n", "is a setting of each model"),
        ("[a]\nload-on-startup = perhaps\n", "load_on_startup in [a]"),
        ("[a]\nstop-timeout = soon\n", "must be a number of seconds"),
        ("[a\n", "is not an INI file"),
    ],
)
def test_errors_of_a_preset_name_the_key_and_its_place(
    tmp_path: Path, text: str, words: str
) -> None:
    assert words in error(tmp_path / "models.ini", text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("models.a = 5\n", "must be a table"),
        ("[models.a.aliases.x]\nctx_size = 5\n", "is no setting of a request"),
        ("[models.a]\naliases = 5\n", "must be a list of names"),
        ("[models.a]\nkeep_alive = 0\n", "must be more than 0 seconds"),
    ],
)
def test_errors_of_tables_name_the_key_and_its_place(tmp_path: Path, text: str, words: str) -> None:
    assert words in error(tmp_path / "llamapack.toml", text)


@pytest.mark.parametrize(
    ("flag", "value", "expected"),
    [
        ("--models-memory", "8000", (8000, 0)),
        ("--models-memory", "8000,24000", (8000, 24000)),
        ("--models-max", "0", 0),
        ("--no-models-autoload", "", False),
        ("--sleep-idle-seconds", "-1", -1.0),
        ("--keep-alive", "1h30m", 5400.0),
    ],
)
def test_flags_of_several_models_are_read(flag: str, value: str, expected: object) -> None:
    fields = {
        "--models-memory": "models_memory",
        "--models-max": "models_max",
        "--no-models-autoload": "models_autoload",
    }
    argv = [flag, value] if value else [flag]
    found = getattr(ModelSources(argv, {}).settings, fields.get(flag, "sleep_idle_seconds"))
    assert found == expected


def test_what_fits_is_chosen_for_one_model_alone(preset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--fit is for a server with one model"):
        ModelSources(["--models-preset", str(preset), "--fit", "on"], {})
    text = "[m]\nmodel = m.gguf\nfit = {}\n"
    assert "one model" in error(tmp_path / "on.ini", text.format("on"))
    (tmp_path / "off.ini").write_text(text.format("off"))
    assert ModelSources(["--models-preset", str(tmp_path / "off.ini")], {}).tables()
