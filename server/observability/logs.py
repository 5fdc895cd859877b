"""Log lines for people or as JSON, each with the id of its request."""

from __future__ import annotations

import logging
import os
import sys

from config import ServeSettings
from logs.formats import LineForm, formatter
from server.observability.request_id import current_request_id
from server.startup import StartupError

_LEVELS = {1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO, 4: logging.INFO}
_SILENT = logging.CRITICAL + 1


def configure_logging(settings: ServeSettings) -> None:
    """Send the log where the settings say. Raises `StartupError` if the file can't be written."""
    handler = _handler(settings)
    handler.setFormatter(formatter(line_form(settings)))
    handler.addFilter(_add_request_id)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level_of(settings.verbosity))
    # uvicorn logs its own start and end; our lines say the same, with the address.
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, root.level))


def line_form(settings: ServeSettings) -> LineForm:
    """What log lines look like. `auto` means colors in terminals, unless NO_COLOR is set."""
    colors = settings.log_colors == "on"
    if settings.log_colors == "auto":
        colors = settings.log_file is None and sys.stderr.isatty() and not os.getenv("NO_COLOR")
    return LineForm(
        as_json=settings.log_json,
        timestamps=settings.log_timestamps,
        prefix=settings.log_prefix,
        colors=colors,
    )


def level_of(verbosity: int) -> int:
    """llama-server's verbosity as a level of Python's logging."""
    if verbosity < 0:
        return _SILENT
    return _LEVELS.get(max(verbosity, 1), logging.DEBUG)


def _handler(settings: ServeSettings) -> logging.Handler:
    if settings.log_file is None:
        return logging.StreamHandler(sys.stderr)
    try:
        return logging.FileHandler(settings.log_file, encoding="utf-8")
    except OSError as error:
        raise StartupError(f"can't log to {settings.log_file}: {error.strerror}") from error


def _add_request_id(record: logging.LogRecord) -> bool:
    record.request_id = current_request_id.get()
    return True
