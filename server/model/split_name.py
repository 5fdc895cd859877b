"""The names of split GGUF files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_SPLIT = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)


@dataclass(frozen=True)
class SplitName:
    """The place of a file in a split model, read from its name."""

    stem: str
    number: int
    count: int

    @classmethod
    def parse(cls, name: str) -> SplitName | None:
        """The parts of `STEM-00001-of-00003.gguf`; None for a model in one file."""
        match = _SPLIT.fullmatch(name)
        return cls(match["stem"], int(match["number"]), int(match["count"])) if match else None

    def all_names(self) -> list[str]:
        """The names of all files of the model, in order."""
        return [
            f"{self.stem}-{number:05d}-of-{self.count:05d}.gguf"
            for number in range(1, self.count + 1)
        ]


def files_of(file: Path) -> list[Path]:
    """All files of the model that has this file; the file itself of a model in one."""
    split = SplitName.parse(file.name)
    return [file] if split is None else [file.with_name(name) for name in split.all_names()]
