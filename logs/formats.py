"""Formatters of log lines, the same in both processes. Times are UTC."""

from __future__ import annotations

import logging
import time

import msgspec


def formatter(*, as_json: bool) -> logging.Formatter:
    """The formatter of log lines: JSON for machines, or text for people."""
    return JsonFormatter() if as_json else TextFormatter()


class TextFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.123Z INFO [request id] message`."""

    def format(self, record: logging.LogRecord) -> str:
        request_id = getattr(record, "request_id", "-")
        line = f"{_time_text(record)} {record.levelname} [{request_id}] {record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


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
