"""Real chat templates to test against: the folder that LLAMAPACK_TEMPLATES names, if any."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from server.templates.chat_template import ChatTemplate, SpecialTokens


def collected_templates() -> list[Path]:
    """The files of the templates; `fetch_sdist.py` says how to get them."""
    folder = os.environ.get("LLAMAPACK_TEMPLATES")
    return sorted(Path(folder).glob("*.jinja")) if folder else []


@functools.cache
def read_template(path: Path) -> ChatTemplate:
    """The template of a file. Finding out what it can do takes a while, so it is kept."""
    return ChatTemplate(path.read_text(), specials=SpecialTokens("<s>", "</s>"))
