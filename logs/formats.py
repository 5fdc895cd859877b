"""Formatters of log lines, the same in both processes. Times are UTC."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import msgspec

_COLORS = {logging.DEBUG: 2, logging.WARNING: 33, logging.ERROR: 31, logging.CRITICAL: 31}
"""Codes of terminals: dim, yellow and red."""


@dataclass(frozen=True, slots=True)
class LineForm:
    """What log lines look like. Only `as_json` counts for JSON."""

    as_json: bool = False
    timestamps: bool = True
    prefix: bool = True
    """Whether a line begins with its level and the request's id."""
    colors: bool = False


def formatter(form: LineForm) -> logging.Formatter:
    """The formatter of log lines: JSON for machines, or text for people."""
    return JsonFormatter() if form.as_json else TextFormatter(form)


class TextFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.123Z INFO [request id] message`, without what the form leaves out."""

    def __init__(self, form: LineForm) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        request_id = getattr(record, "request_id", "-")
        parts = [_time_text(record)] if self._form.timestamps else []
        parts += [f"{record.levelname} [{request_id}]"] if self._form.prefix else []
        line = " ".join([*parts, record.getMessage()])
        line = f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line
        color = _COLORS.get(record.levelno) if self._form.colors else None
        return line if color is None else f"\033[{color}m{line}\033[0m"


class JsonFormatter(logging.Formatter):
    """One JSON object in each line, with the keys time, level, logger, request_id and message."""

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


def _time_text(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"
