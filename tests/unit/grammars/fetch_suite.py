"""Fetches the official JSON-Schema-Test-Suite, as the sdist of the `jsonschema` package has it.

python tests/unit/grammars/fetch_suite.py build/json-schema-suite
LLAMAPACK_JSON_SCHEMA_SUITE=build/json-schema-suite python -m pytest tests/unit/grammars
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

SDIST = "jsonschema==4.26.0"


def main(target: Path) -> None:
    """Put the suite's folder `tests` into `target`."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--no-binary", ":all:", "--dest", folder, SDIST], check=True)
        (archive,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            for member in tar.getmembers():
                inner = Path(member.name).parts[1:]
                if inner[:2] == ("json", "tests") and member.isfile():
                    source = tar.extractfile(member)
                    assert source is not None
                    path = target.joinpath(*inner[1:])
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(source.read())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
