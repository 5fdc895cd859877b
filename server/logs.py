"""Log lines for people or as JSON, each with the id of its request."""

from __future__ import annotations

import logging
import sys
import time

import msgspec

from config import ServeSettings
from server.request_id import current_request_id
from server.startup import StartupError

_LEVELS = {1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO, 4: logging.INFO}
_SILENT = logging.CRITICAL + 1


def configure_logging(settings: ServeSettings) -> None:
    """Send the log where the settings say. Raises `StartupError` if the file can't be written."""
    handler = _handler(settings)
    handler.setFormatter(JsonFormatter() if settings.log_json else TextFormatter())
    handler.addFilter(_add_request_id)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level_of(settings.verbosity))
    # uvicorn tells of its own start and end; ours says the same with the address.
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, root.level))


def level_of(verbosity: int) -> int:
    """llama-server's verbosity as a level of Python's logging."""
    if verbosity < 0:
        return _SILENT
    return _LEVELS.get(max(verbosity, 1), logging.DEBUG)


class TextFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.123Z INFO [request id] message`."""

    def format(self, record: logging.LogRecord) -> str:
        request_id = getattr(record, "request_id", "-")
        line = f"{_time_text(record)} {record.levelname} [{request_id}] {record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time_text(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "request_id": getattr(record, "request_id", "-"),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


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


def _time_text(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"
