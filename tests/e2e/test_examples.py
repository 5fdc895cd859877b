"""Each program in examples/ runs against a server and prints what its first line promises."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.paths import ROOT
from tests.support.processes import serving

EXAMPLES = ROOT / "examples"
PRINTED = {
    "chat.py": ["The capital of France is Paris.\n", "tokens)\n"],
    "tool_calls.py": ['calls get_weather({"city": "Oslo"})\n', "It is 12 degrees and rain"],
    "structured_output.py": ["Person(name='Ana', age=31, city='Oslo')\n"],
    "many_clients.py": ["The capital of Peru is Lima.\n", "8 answers in "],
    "curl.sh": ['{"status":"ok"}\n', "Paris", "data: [DONE]\n", '{"content":"yes"'],
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving("-c", "4096") as server:
        yield server.url


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_prints_what_it_shows(url: str, name: str) -> None:
    if name.endswith(".sh") and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    interpreter = sys.executable if name.endswith(".py") else "sh"
    result = subprocess.run(
        [interpreter, EXAMPLES / name],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "LLAMAPACK_URL": url},
    )
    assert result.returncode == 0, result.stderr
    for text in PRINTED[name]:
        assert text in result.stdout


def test_every_example_is_run_and_listed() -> None:
    names = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".sh")}
    assert names == set(PRINTED)
    readme = (EXAMPLES / "README.md").read_text()
    assert all(f"({name})" in readme for name in names)


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_says_first_what_it_shows(name: str) -> None:
    lines = (EXAMPLES / name).read_text().splitlines()
    first = lines[1].removeprefix("# ") if name.endswith(".sh") else lines[0].strip('"')
    assert first.endswith(".")
