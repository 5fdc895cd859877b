"""Real vocabularies for models with random weights.

llama.cpp's sources contain GGUF files with a vocabulary and no weights. The source archive of the
installed llama-cpp-python has these files; pip downloads the archive, and the cache keeps the files
that are needed.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

Say = Callable[[str], None]

VOCABULARIES = ("llama-spm", "qwen2")
"""The vocabularies that bench models use: 32,000 and 151,936 tokens."""

_KEPT = "tokenizer."
"""Prefix of the keys of a vocabulary file that describe its tokenizer."""


@dataclass(frozen=True)
class Entry:
    """A key of a GGUF's header with its value and the names of its types."""

    key: str
    value: Any
    kind: str
    element_kind: str | None


def ensure_vocab(name: str, cache: Path, say: Say) -> Path:
    """The path of `ggml-vocab-NAME.gguf`; downloads the file if the cache doesn't have it."""
    path = cache / "vocab" / _file(name)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="llamapack-sdist-") as folder:
            say("fetching the source archive of llama-cpp-python (about 75 MB, once) ...")
            _extract(_download(Path(folder)), path.parent)
    return path


def _file(name: str) -> str:
    return f"ggml-vocab-{name}.gguf"


def read_tokenizer(path: Path) -> list[Entry]:
    """The tokenizer's part of a GGUF's header."""
    from gguf import GGUFReader

    entries = []
    for field in GGUFReader(path).fields.values():
        if field.name.startswith(_KEPT):
            kinds = [kind.name for kind in field.types]
            element = kinds[-1] if len(kinds) > 1 else None
            entries.append(Entry(field.name, field.contents(), kinds[0], element))
    return entries


def _download(folder: Path) -> Path:
    package = f"llama-cpp-python=={version('llama-cpp-python')}"
    options = ["--quiet", "--no-deps", "--no-binary", ":all:"]
    command = [sys.executable, "-m", "pip", "download", *options, "-d", str(folder), package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = list(folder.glob("*.tar.gz"))
    if done.returncode or not archives:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ValueError(f"pip cannot fetch the sources of {package}: {reason}")
    return archives[0]


def _extract(archive: Path, folder: Path) -> None:
    """Write the archive's vocabularies to `folder`, each completely or not at all."""
    wanted = {_file(name) for name in VOCABULARIES}
    with tarfile.open(archive) as tar:
        for member in tar:
            parent, _, file = member.name.rpartition("/")
            if file in wanted and parent.endswith("/vendor/llama.cpp/models"):
                _write(tar, member, folder / file)
                wanted.remove(file)
    if wanted:
        raise ValueError(f"{archive.name} has no {', '.join(sorted(wanted))}")


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    source = tar.extractfile(member)
    if source is None:
        raise ValueError(f"{member.name} is not a file")
    partial = target.with_suffix(".part")
    partial.write_bytes(source.read())
    partial.rename(target)
