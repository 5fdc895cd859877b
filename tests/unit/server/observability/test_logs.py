"""Log lines: level, format, and the request that a line belongs to."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config import ServeSettings
from server.observability.logs import configure_logging, level_of
from server.observability.request_id import current_request_id
from server.startup import StartupError


@pytest.fixture(autouse=True)
def root() -> Iterator[None]:
    """Leaves the root logger as it was."""
    logger = logging.getLogger()
    handlers, level = logger.handlers, logger.level
    yield
    for handler in logger.handlers:
        if handler not in handlers:
            handler.close()
    logger.handlers, logger.level = handlers, level


def lines(path: Path, **settings: Any) -> list[str]:
    """What reaches the file when something goes wrong within a request."""
    configure_logging(ServeSettings(log_file=path, **settings))
    token = current_request_id.set("id-7")
    try:
        logging.getLogger("x").info("hello %s", "you")
        raise ValueError("wrong")
    except ValueError:
        logging.getLogger("x").exception("failed")
    finally:
        current_request_id.reset(token)
    return path.read_text().splitlines()


def test_lines_for_people(tmp_path: Path) -> None:
    first, second, *rest = lines(tmp_path / "log")
    assert first.endswith("Z INFO [id-7] hello you")
    assert second.endswith("Z ERROR [id-7] failed")
    assert rest[-1] == "ValueError: wrong"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"log_timestamps": False}, "INFO [id-7] hello you"),
        ({"log_timestamps": False, "log_prefix": False}, "hello you"),
        ({"log_timestamps": False, "log_prefix": False, "log_colors": "on"}, "hello you"),
    ],
)
def test_parts_of_a_line_are_left_out(
    tmp_path: Path, settings: dict[str, Any], expected: str
) -> None:
    assert lines(tmp_path / "log", **settings)[0] == expected


@pytest.mark.parametrize(("colors", "is_red"), [("on", True), ("off", False), ("auto", False)])
def test_errors_are_red_where_colors_are_on(tmp_path: Path, colors: str, is_red: bool) -> None:
    text = "\n".join(lines(tmp_path / "log", log_colors=colors))
    assert ("\033[31m" in text) == ("\033[0m" in text) == is_red


def test_a_line_without_prefix_keeps_its_time(tmp_path: Path) -> None:
    assert re.fullmatch(r"\S+T\S+Z hello you", lines(tmp_path / "log", log_prefix=False)[0])


def test_lines_in_json(tmp_path: Path) -> None:
    first, second = (json.loads(line) for line in lines(tmp_path / "log", log_json=True))
    assert first["message"] == "hello you"
    assert (first["level"], first["logger"], first["request_id"]) == ("info", "x", "id-7")
    assert "ValueError: wrong" in second["traceback"]


@pytest.mark.parametrize(
    ("verbosity", "level"),
    [
        (0, logging.ERROR),
        (1, logging.ERROR),
        (2, logging.WARNING),
        (3, logging.INFO),
        (4, logging.INFO),
        (5, logging.DEBUG),
        (9, logging.DEBUG),
    ],
)
def test_verbosity(verbosity: int, level: int) -> None:
    assert level_of(verbosity) == level


def test_silence(tmp_path: Path) -> None:
    assert lines(tmp_path / "log", verbosity=-1) == []


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="can't log to"):
        configure_logging(ServeSettings(log_file=tmp_path / "nothing" / "log"))
