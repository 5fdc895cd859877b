"""A model on this machine's disks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from server.store.folders import Owner


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model whose files are all there."""

    name: str
    """Unique among the stored models, and the same as long as the file stays."""
    path: Path
    """The first file; of most models the only one."""
    size: int
    """Bytes of all files, without the projector."""
    owner: Owner
    modified: datetime
    digest: str = ""
    """`sha256:HEX` of the first file, if somebody has noted it."""
    files: tuple[Path, ...] = ()
    projector: Path | None = None
    """The file that lets the model see or hear."""


def stored(
    name: str,
    files: Sequence[Path],
    owner: Owner,
    *,
    digest: str = "",
    projector: Path | None = None,
) -> StoredModel:
    """The model in these files. Raises OSError if one is missing."""
    states = [file.stat() for file in files]
    return StoredModel(
        name=name,
        path=files[0],
        size=sum(state.st_size for state in states),
        owner=owner,
        modified=datetime.fromtimestamp(states[0].st_mtime, UTC),
        digest=digest,
        files=tuple(files),
        projector=projector,
    )
