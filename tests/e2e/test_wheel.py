"""The wheel: what is in it, and that it serves from a folder full of files with our names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.paths import ROOT
from tests.support.processes import Server

PACKAGES = {"config", "confined", "grammars", "logs", "models", "protocol", "scheduler", "server"}
NOT_SHIPPED = {"deploy", "examples", "loadtests", "tests"}
HOSTILE = (
    "scheduler",
    "server",
    "config",
    "logging",
    "msgspec",
    "grammars",
    "protocol",
    "json",
    "confined",
    "jinja2",
)
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}},
    "required": ["city"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wheel")


@pytest.fixture(scope="module")
def wheel(folder: Path) -> Path:
    """Built from a copy, because setuptools would ship what older builds left in `build/`."""
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in PACKAGES | NOT_SHIPPED:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
            )
    build = ("wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder))
    _pip(*build, str(source))
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(folder: Path, wheel: Path) -> Path:
    """The `bin` of an environment with the wheel, and the libraries of ours without our code."""
    environment = folder / "venv"
    venv.create(environment, symlinks=True)
    _pip("--python", str(environment), "install", "--no-deps", "--no-index", str(wheel))
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    site_packages = next(environment.glob("lib/python*/site-packages"))
    # A plain path, not a site directory: its own .pth files, which find the checkout, stay unread.
    (site_packages / "libraries.pth").write_text("\n".join(libraries))
    return environment / "bin"


@pytest.fixture(scope="module")
def hostile(folder: Path) -> Path:
    """A working directory in which every import of ours would find a wrong module."""
    hostile = folder / "hostile"
    hostile.mkdir()
    for name in HOSTILE:
        (hostile / f"{name}.py").write_text(
            f"raise ImportError('{name} of the working directory')\n"
        )
    return hostile


def _pip(*arguments: str) -> None:
    environ = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    command = [sys.executable, "-m", "pip", "--quiet", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_wheel_holds_the_product_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES
    assert {name for name in names if name.startswith("models/")} == {
        "models/__init__.py",
        "models/py.typed",
        "models/demo/demo-draft.gguf",
        "models/demo/demo-target.gguf",
    }
    assert {name for name in names if name.endswith("py.typed")} == {
        f"{package}/py.typed" for package in PACKAGES
    }


@pytest.mark.parametrize(
    "suffix", [".py", ".gbnf", ".toml", ".html", ".js", ".css", ".svg", ".woff2", ".br", ".gz"]
)
def test_nothing_of_a_package_is_missing(wheel: Path, suffix: str) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in PACKAGES - {"models"}:
        files = {str(file.relative_to(ROOT)) for file in (ROOT / package).rglob(f"*{suffix}")}
        assert files - names == set()


def test_the_environment_runs_the_wheels_code(installed: Path, hostile: Path) -> None:
    result = subprocess.run(
        [installed / "python", "-P", "-c", "import server, models; print(server.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=hostile,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    assert Path(result.stdout.strip()).is_relative_to(installed.parent)


@pytest.fixture(scope="module")
def url(installed: Path, hostile: Path) -> Iterator[str]:
    server = Server(executable=installed / "llamapack", cwd=hostile)
    try:
        server.wait_ready()
        yield server.url
    finally:
        server.end()


def test_the_embedded_model_answers(url: str) -> None:
    body = {"messages": QUESTION, "temperature": 0}
    answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60).json()
    assert "Paris" in answer["choices"][0]["message"]["content"]


def test_the_page_is_there(url: str) -> None:
    page = httpx.get(f"{url}/", headers={"Accept": "text/html"}, timeout=60)
    assert '<div id="page">' in page.text
    files = re.findall(r'(?:src|href)="\./([^"]+)"', page.text)
    assert [httpx.get(f"{url}/{name}", timeout=60).status_code for name in files] == [200] * len(
        files
    )


def test_the_checker_of_grammars_starts(url: str) -> None:
    """It is a process of its own, started for the first constraint."""
    response_format = {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA}}
    wishes = {"response_format": response_format, "max_tokens": 60, "temperature": 0}
    body = {"messages": QUESTION, **wishes}
    response = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
    assert response.status_code == 200, response.text
    assert response.json()["choices"][0]["message"]["content"].lstrip().startswith("{")
