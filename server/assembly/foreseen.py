"""What a model will take that has to be downloaded, told by the headers of its files alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from config.speculation import DRAFT_MODEL
from server.assembly.assemble import config_of
from server.fit.errors import FitError
from server.fit.estimate import estimate
from server.fit.heads import heads_of
from server.pool.entries import ModelEntry
from server.pool.memory import MemoryUse
from server.store.errors import StoreError
from server.store.progress import PullJob
from server.store.remote_file import RemoteFile
from server.store.resolve import PullWatch, resolve_model

logger = logging.getLogger("llamapack")


def foreseen(entry: ModelEntry, is_cancelled: Callable[[], bool]) -> MemoryUse | None:
    """The memory as llama.cpp plans it. Blocks while some megabytes are read.

    None if the model's files are here, or if their headers can't be read or planned with. A draft
    model that has to be downloaded too doesn't count. Raises `StartupError`.
    """
    files = _missing_files(entry, is_cancelled)
    if not files:
        return None
    settings = entry.settings
    draft = settings.spec_draft_model if DRAFT_MODEL in settings.spec_type else None
    draft = draft if draft is not None and draft.is_file() else None
    try:
        with heads_of(files, PullJob(is_cancelled=is_cancelled)) as path:
            footprint = estimate(path, config_of(settings, path, draft))
    except (FitError, OSError) as error:  # such as no room for a temporary file
        logger.debug("the memory of %s is not known before its download: %s", entry.name, error)
        return None
    return MemoryUse(footprint.host.total, footprint.device_bytes)


class _Missing(StoreError):
    """Stops a pull before it downloads these files."""

    def __init__(self, files: Sequence[RemoteFile]) -> None:
        super().__init__("some files are missing")
        self.files = files


def _missing_files(entry: ModelEntry, is_cancelled: Callable[[], bool]) -> Sequence[RemoteFile]:
    """All files of the model, if some have to be downloaded. Raises `StartupError`."""

    def stop(files: Sequence[RemoteFile]) -> None:
        raise _Missing(files)

    try:
        resolve_model(entry.settings, watch=PullWatch(is_cancelled=is_cancelled, before_fetch=stop))
    except _Missing as missing:
        return missing.files
    return ()
