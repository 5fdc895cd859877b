"""Checks that a tag can be released, and prints its notes: `python deploy/check_release.py v0.1.0`.

The tag has to be `v` and the version in pyproject.toml, and CHANGELOG.md has to have a section for
that version. The section is printed, so that it can become the text of the release.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


class NotReleasable(Exception):
    """The tag can't be released; the message is one line that says why."""


def main(argv: list[str]) -> int:
    """Print the notes of the tag in `argv` and return 0; return 1 if it can't be released."""
    if len(argv) != 1:
        print("usage: python deploy/check_release.py TAG", file=sys.stderr)
        return 2
    try:
        print(release_notes(argv[0], ROOT))
    except NotReleasable as error:
        print(f"{argv[0]} can't be released: {error}", file=sys.stderr)
        return 1
    return 0


def release_notes(tag: str, root: Path) -> str:
    """The tag's section of the changelog, without its heading. Raises `NotReleasable`."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    version: str = project["version"]
    if tag != f"v{version}":
        raise NotReleasable(f"pyproject.toml has version {version}, whose tag is v{version}")
    notes = section((root / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    if not notes:
        raise NotReleasable(f"CHANGELOG.md says nothing under '## [{version}] - DATE'")
    return notes


def section(changelog: str, version: str) -> str:
    """What stands under the dated heading of `version`; empty if there is no such heading."""
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$"
    _, *rest = re.split(heading, changelog, maxsplit=1, flags=re.MULTILINE)
    return re.split(r"^## ", rest[0], maxsplit=1, flags=re.MULTILINE)[0].strip() if rest else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
