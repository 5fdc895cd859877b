"""The image: how llama.cpp is compiled for it, and what its documentation says to type."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SCRIPT = ROOT / "deploy" / "build_llama.sh"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
GUIDE = (ROOT / "deploy" / "README.md").read_text()

# Plays pip, which compiles: notes the options, and leaves the libraries that it is told of.
PYTHON = """#!/bin/sh
if [ "$1" = -c ]; then echo "$HOME/platlib"; exit; fi
echo "$CMAKE_ARGS" >"$HOME/options"
mkdir -p "$HOME/platlib/llama_cpp/lib"
for name in $LIBRARIES; do echo >"$HOME/platlib/llama_cpp/lib/$name"; done
"""


class Build:
    """A run of the script, in which nothing is compiled."""

    def __init__(self, home: Path, libraries: str = "libllama.so", **arguments: str) -> None:
        tools = home / "bin"
        tools.mkdir()
        for name, text in (("python3", PYTHON), ("strip", "#!/bin/sh\n")):
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
        environment = {"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(home)}
        self.done = subprocess.run(
            ["sh", str(SCRIPT), "llama-cpp-python==1"],
            env={**environment, "LIBRARIES": libraries, **arguments},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        noted = home / "options"
        self.options = shlex.split(noted.read_text()) if noted.exists() else []

    def option(self, name: str) -> str | None:
        """The value of a CMake option."""
        found = [one.partition("=")[2] for one in self.options if one.startswith(f"-D{name}=")]
        return found[0] if found else None


CUDA_LIBRARIES = "libllama.so libggml-cuda.so"


@pytest.mark.parametrize("cuda", ["all", "90", "80-real;90;120a-real"])
def test_cuda_brings_kernels_and_flash_attention(cuda: str, tmp_path: Path) -> None:
    build = Build(tmp_path, CUDA_LIBRARIES, CUDA=cuda)
    assert build.done.returncode == 0, build.done.stderr
    assert (build.option("GGML_CUDA"), build.option("GGML_CUDA_FA")) == ("ON", "ON")
    assert build.option("GGML_BACKEND_DL") == "ON"
    if cuda != "all":
        assert build.option("CMAKE_CUDA_ARCHITECTURES") == cuda


def test_all_is_8_0_to_12_0_and_code_for_later_ones(tmp_path: Path) -> None:
    build = Build(tmp_path, CUDA_LIBRARIES, CUDA="all")
    architectures = (build.option("CMAKE_CUDA_ARCHITECTURES") or "").split(";")
    numbers = [int(re.match(r"\d+", one)[0]) for one in architectures]  # type: ignore[index]
    assert numbers == [80, 86, 89, 90, 100, 120]
    assert sum("-" not in one for one in architectures) == 1


def test_without_cuda_nothing_of_it_is_asked_for(tmp_path: Path) -> None:
    build = Build(tmp_path)
    assert build.done.returncode == 0, build.done.stderr
    assert not any("CUDA" in option or "RPC" in option for option in build.options)
    assert build.option("GGML_CPU_ALL_VARIANTS") == "ON"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"CUDA": "ON"}, "CUDA must be all or a list"),
        ({"CUDA": "80,90"}, "CUDA must be all or a list"),
        ({"CUDA": "$(id)"}, "CUDA must be all or a list"),
        ({"CUDA": "all", "CPU": "v3"}, "CUDA needs CPU=all"),
        ({"CUDA": "90", "CPU": "native"}, "CUDA needs CPU=all"),
        ({"GGML_RPC": "yes"}, "GGML_RPC must be ON or OFF"),
        ({"CPU": "v4"}, "CPU must be all, v3 or native"),
    ],
)
def test_wrong_arguments_end_the_build(
    arguments: dict[str, str], message: str, tmp_path: Path
) -> None:
    build = Build(tmp_path, CUDA_LIBRARIES, **arguments)
    assert build.done.returncode == 1
    assert message in build.done.stderr
    assert not build.options


def test_a_build_that_left_cuda_out_ends(tmp_path: Path) -> None:
    build = Build(tmp_path, "libllama.so", CUDA="all")
    assert build.done.returncode == 1
    assert "without CUDA" in build.done.stderr


@pytest.mark.parametrize("cpu", ["all", "v3", "native"])
def test_rpc_is_built_where_it_is_asked_for(cpu: str, tmp_path: Path) -> None:
    build = Build(tmp_path, "libllama.so libggml-rpc.so", CPU=cpu, GGML_RPC="ON")
    assert build.done.returncode == 0, build.done.stderr
    assert build.option("GGML_RPC") == "ON"


def test_a_build_that_left_rpc_out_ends(tmp_path: Path) -> None:
    build = Build(tmp_path, "libllama.so", GGML_RPC="ON")
    assert build.done.returncode == 1
    assert "without RPC" in build.done.stderr


def test_further_options_come_last(tmp_path: Path) -> None:
    build = Build(tmp_path, CUDA_LIBRARIES, CUDA="90", CMAKE_EXTRA="-DGGML_CUDA_FA_QUANTS=all")
    assert build.options[-1] == "-DGGML_CUDA_FA_QUANTS=all"


def test_the_script_is_plain_shell() -> None:
    for shell in ("sh", "dash", "bash"):
        if shutil.which(shell):
            subprocess.run([shell, "-n", str(SCRIPT)], check=True)


def test_the_guides_commands_name_arguments_that_are_there() -> None:
    arguments = set(re.findall(r"^ARG (\w+)=", DOCKERFILE, re.MULTILINE))
    assert set(re.findall(r"--build-arg (\w+)=", GUIDE)) <= arguments
    table = set(re.findall(r"`(\w+)(?:=\w+)?`", " ".join(re.findall(r"^\| `.*$", GUIDE, re.M))))
    assert arguments <= table
    for argument in arguments - {"BUILD_IMAGE", "RUNTIME_IMAGE"}:
        assert f'{argument}="${argument}"' in DOCKERFILE


def test_what_is_built_with_cuda_runs_on_the_same_cuda() -> None:
    image = r"_IMAGE=nvidia/cuda:([\d.]+)-{}-(\w+\.\w+)"
    built = re.findall("BUILD" + image.format("devel"), GUIDE)
    assert built == re.findall("RUNTIME" + image.format("runtime"), GUIDE)
    versions = [tuple(map(int, version.split(".")[:2])) for version, _ in built]
    assert {major for major, _ in versions} == {12, 13}
    assert min(versions) >= (12, 8)  # the first that knows 12.0


def test_the_layer_of_libraries_has_the_images_extras() -> None:
    found = re.search(r"pip install -c constraints.txt '\.\[([\w,-]+)\]'", DOCKERFILE)
    assert found is not None
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    listed = subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "image_requirements.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for extra in found[1].split(","):
        assert set(extras[extra]) <= set(listed)
