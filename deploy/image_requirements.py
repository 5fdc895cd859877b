"""Prints the requirements of the image, so that they are installed in a layer below our code."""

from __future__ import annotations

import tomllib
from pathlib import Path

EXTRAS = ("otel", "kv-events", "gpu")

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
print(*project["dependencies"], sep="\n")
for extra in EXTRAS:
    print(*project["optional-dependencies"][extra], sep="\n")
