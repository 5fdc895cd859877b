"""make's installation of llama-cpp-python: a cached build without RPC is not taken."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.paths import ROOT

_SPEC = importlib.util.spec_from_file_location(
    "install_llama", ROOT / "deploy" / "install_llama.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
install_llama = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(install_llama)

RPC = "libggml-rpc.so"
OLD = "libggml-base.so"

Installed = Callable[[str, list[str]], list[list[str]]]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    """What pip was asked for, with the given CMake flags, if each try leaves such a library."""

    def run(flags: str, libraries: list[str]) -> list[list[str]]:
        asked: list[list[str]] = []
        left = iter(libraries)

        def install(arguments: list[str]) -> int:
            asked.append(["install", *arguments])
            for path in tmp_path.iterdir():
                path.unlink()
            (tmp_path / next(left)).touch()
            return 0

        monkeypatch.setenv("CMAKE_ARGS", flags)
        monkeypatch.setattr("sys.argv", ["install_llama.py", "llama-cpp-python==1.2.3"])
        monkeypatch.setattr(install_llama, "install", install)
        monkeypatch.setattr(install_llama, "_pip", lambda *words: asked.append([*words]))
        monkeypatch.setattr(install_llama, "library_folder", lambda: tmp_path)
        assert install_llama.main() == 0
        return asked

    return run


@pytest.mark.parametrize(
    ("flags", "library"),
    [("-DGGML_RPC=ON", RPC), ("", OLD), ("-DGGML_RPC=OFF", OLD), ("-DGGML_CUDA=ON", OLD)],
)
def test_what_is_right_is_installed_once(installed: Installed, flags: str, library: str) -> None:
    assert installed(flags, [library]) == [["install", "llama-cpp-python==1.2.3"]]


def test_a_cached_build_without_rpc_is_built_again(installed: Installed) -> None:
    first, cache, second = installed("-DGGML_CUDA=ON -DGGML_RPC=ON", [OLD, RPC])
    assert first == ["install", "llama-cpp-python==1.2.3"]
    assert cache[:2] == ["cache", "remove"]
    assert second == ["install", "--force-reinstall", "--no-deps", "llama-cpp-python==1.2.3"]
