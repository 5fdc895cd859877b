"""A stand-in for the building of schemas, in the confined process: some schemas take for ever."""

from __future__ import annotations

import time

from grammars import building
from grammars.constraint import LLGuidanceGrammar

ENDLESS = "endless"
"""The title of such a schema begins so."""


def build_schema(text: str, is_open: bool) -> LLGuidanceGrammar:
    """As in `grammars.building`."""
    if ENDLESS in text:
        time.sleep(600)
    return building.build_schema(text, is_open)
