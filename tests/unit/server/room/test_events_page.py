"""docs/events.md names every field of the event stream."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from server.room import schema

PAGE = Path(__file__).parents[4] / "docs" / "events.md"
VIEWS = [
    view
    for view in vars(schema).values()
    if isinstance(view, type) and issubclass(view, msgspec.Struct)
]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.__name__)
def test_the_page_names_every_field(view: type[msgspec.Struct]) -> None:
    named = set(re.findall(r"`([a-z_]+)(?:\[[^`]*\]|\{\})?`", PAGE.read_text()))
    assert set(view.__struct_fields__) - named == set()
