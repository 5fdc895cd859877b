"""Fetches a folder of a source distribution on PyPI: references that tests can compare with.

python tests/support/fetch_sdist.py jsonschema==4.26.0 json build/json-schema-suite
python tests/support/fetch_sdist.py llama-cpp-python==0.3.36 vendor/llama.cpp/models/templates \
    build/templates
LLAMAPACK_JSON_SCHEMA_SUITE=build/json-schema-suite LLAMAPACK_TEMPLATES=build/templates make unit
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath


def main(requirement: str, folder: str, target: Path) -> None:
    """Put the archive's content under `folder` into `target`; do nothing if `target` exists."""
    if target.exists():
        return
    with tempfile.TemporaryDirectory() as downloads:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--no-binary", ":all:", "--dest", downloads, requirement], check=True)
        (archive,) = Path(downloads).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            for member in tar:
                path = PurePosixPath(*PurePosixPath(member.name).parts[1:])
                if member.isfile() and path.is_relative_to(folder):
                    _write(tar, member, target / path.relative_to(folder))


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    source = tar.extractfile(member)
    assert source is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(source.read())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
