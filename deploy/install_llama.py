"""Installs the pinned llama-cpp-python, and shows progress while pip compiles it.

Run by make in the project's virtual environment, with the file of constraints. The image's build
names the requirement, because it has no pyproject.toml at that point. Compiler flags come from the
environment. pip's cache knows a wheel by its version alone, so one that was built with other flags
is built again.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

NINJA_STEP = re.compile(r"\[(\d+)/(\d+)\]")


def requirement() -> str:
    """The pinned requirement in pyproject.toml, the one place that names the version."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    dependencies: list[str] = project["dependencies"]
    return next(line for line in dependencies if line.startswith("llama-cpp-python"))


def main() -> int:
    """Install, and build again what pip's cache had from a build without what is asked for."""
    arguments = _arguments()
    code = install(arguments)
    if code == 0 and lacks_rpc(os.environ.get("CMAKE_ARGS", ""), library_folder()):
        print("    pip's cache holds a build without RPC: compiling anew", flush=True)
        _pip("cache", "remove", "--quiet", "llama_cpp_python")
        code = install(["--force-reinstall", "--no-deps", *arguments])
    return code


def library_folder() -> Path:
    """Where the package keeps llama.cpp's libraries."""
    return Path(sysconfig.get_path("platlib")) / "llama_cpp" / "lib"


def lacks_rpc(flags: str, folder: Path) -> bool:
    """Whether CMake's flags ask for ggml's RPC, and the libraries in the folder have none."""
    return "-DGGML_RPC=ON" in flags.split() and not any(folder.glob("*ggml-rpc*"))


def install(arguments: list[str]) -> int:
    """Run pip, and show the compiler's output as one line of progress. Return pip's status."""
    tail: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-m", "pip", "install", "--verbose", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as pip:
        assert pip.stdout is not None
        shown = 0
        for line in pip.stdout:
            tail = [*tail[-40:], line]
            step = NINJA_STEP.search(line)
            if step is None:
                continue
            percent = 100 * int(step[1]) // int(step[2])
            if sys.stdout.isatty():
                print(f"\r    compiling: {percent:3d} %", end="", flush=True)
            elif percent >= shown + 10:
                shown = percent
                print(f"    compiling: {percent:3d} %", flush=True)
    if sys.stdout.isatty():
        print("\r" + " " * 24 + "\r", end="")
    if pip.returncode != 0:
        print("".join(tail), file=sys.stderr)
        print("llama-cpp-python could not be built; is there a C++ compiler?", file=sys.stderr)
    return pip.returncode


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", *arguments], check=False)


def _arguments() -> list[str]:
    """pip's arguments: the requirement, and the file of constraints if one is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requirement", nargs="?", help="by default the pin in pyproject.toml")
    parser.add_argument("-c", "--constraint", metavar="FILE", help="versions that pip has to keep")
    given = parser.parse_args()
    constraint = ["--constraint", given.constraint] if given.constraint else []
    return [*constraint, given.requirement or requirement()]


if __name__ == "__main__":
    sys.exit(main())
