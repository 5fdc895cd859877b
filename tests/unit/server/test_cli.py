"""The llamapack command, as a user types it."""

import subprocess
import sys
import types
from pathlib import Path

import pytest

from config import ServeSettings
from server.cli import COMMANDS, main
from server.startup import ModelFileError

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[ServeSettings]:
    """Stands in for the server; collects the settings that it was started with."""
    started: list[ServeSettings] = []

    def run(settings: ServeSettings, notices: list[str]) -> int:
        for notice in notices:
            print(notice)
        started.append(settings)
        return 0

    app = types.ModuleType("server.runtime")
    app.serve = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "server.runtime", app)
    return started


def test_serve_starts_the_server_with_its_settings(
    served: list[ServeSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_ARG_N_PARALLEL", "3")
    assert main(["serve", "--port", "9000"]) == 0
    assert (served[0].port, served[0].parallel) == (9000, 3)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_without_a_command_the_commands_are_listed(arguments: list[str], capsys: Captured) -> None:
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "serve" in out
    assert not err


@pytest.mark.parametrize("arguments", [["--version"], ["serve", "--version"]])
def test_the_version_is_printed(arguments: list[str], capsys: Captured) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("llamapack ")


@pytest.mark.parametrize("flag", ["-h", "--help", "--usage"])
def test_serve_prints_its_flags(flag: str, capsys: Captured) -> None:
    assert main(["serve", "--port", "1", flag]) == 0
    assert "--ctx-size" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["srve"], f"unknown command srve; there are: {', '.join(COMMANDS)}"),
        (["--port", "80"], "unknown command --port; did you mean llamapack serve --port?"),
        (["serve", "-c", "-5"], "-c must be at least 0, got -5"),
        (
            ["serve", "--mmproj", "x"],
            "--mmproj: multimodal input is not supported; use llama-server for images, audio and "
            "video",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    arguments: list[str], line: str, capsys: Captured, served: list[ServeSettings]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"llamapack: error: {line}\n")
    assert not served


def test_a_model_that_cannot_be_used_is_one_line_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def run(settings: ServeSettings, notices: list[str]) -> int:
        for notice in notices:
            print(notice)
        raise ModelFileError("there is no file m.gguf")

    app = types.ModuleType("server.runtime")
    app.serve = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "server.runtime", app)
    assert main(["serve", "-m", "m.gguf"]) == 1
    assert capsys.readouterr().err == "llamapack: error: there is no file m.gguf\n"


def test_a_mistyped_flag_answers_without_loading_anything_heavy() -> None:
    code = (
        "import sys; from server.cli import main; status = main(['serve', '--prot', '1']); "
        "heavy = {'llama_cpp', 'numpy', 'starlette', 'uvicorn', 'huggingface_hub'}; "
        "print(status, sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout == "2 []\n"
    assert result.stderr == "llamapack: error: unknown flag --prot; did you mean --port?\n"


def test_the_devices_are_listed() -> None:
    program = "from server.cli import main; raise SystemExit(main(['serve', '--list-devices']))"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    first, *devices = done.stdout.splitlines()
    assert first == "Available devices:"
    assert devices


def test_downloaded_models_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    repo = tmp_path / "hub" / "models--user--repo--x"
    for name in ("m-Q4_K_M.gguf", "mmproj-m.gguf", "README.md"):
        file = repo / "snapshots" / "c0ffee" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("c0ffee")
    own = tmp_path / "llamapack" / "models" / "0123" / "by-url.gguf"
    own.parent.mkdir(parents=True)
    own.touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["serve", "-cl"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "number of models in cache: 2",
        "   1. by-url",
        "   2. user/repo--x:Q4_K_M",
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("llamapack ser", "serve"),
        ("llamapack pu", "pull"),
        ("llamapack serve --ctx-s", "--ctx-size"),
        ("llamapack serve -m x.gguf --cache-ty", "--cache-type-k --cache-type-v"),
        ("llamapack serve --completion", "--completion-bash"),
        ("llamapack serve -m mod", ""),
        ("llamapack grammar -", ""),
    ],
)
def test_bash_completes_commands_and_flags(words: str, expected: str, capsys: Captured) -> None:
    assert main(["serve", "--completion-bash"]) == 0
    script = capsys.readouterr().out
    count = len(words.split()) - 1
    program = (
        f"{script}\nCOMP_WORDS=({words})\nCOMP_CWORD={count}\n_llamapack\n"
        'for word in "${COMPREPLY[@]}"; do [[ $word == *-draft ]] || echo "$word"; done'
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert " ".join(sorted(done.stdout.split())) == expected
    assert not done.stderr


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {"rpc-server"}))
def test_every_command_has_a_help(name: str, capsys: Captured) -> None:
    try:
        code = main([name, "--help"])
    except SystemExit as ended:  # argparse ends by itself
        code = int(ended.code or 0)
    assert code == 0
    assert "llamapack" in capsys.readouterr().out
