"""A tag is released only if the version and the changelog say the same."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SCRIPT = ROOT / "deploy" / "check_release.py"
CHANGELOG = """# Changelog

## [Unreleased]

## [1.2.0] - 2026-01-31

### Added

- A thing.

## [1.1.0] - 2025-12-01

- An older thing.
"""


def check(root: Path, tag: str) -> subprocess.CompletedProcess[str]:
    """Run the script's copy in `root`, as it stands in a checkout."""
    script = root / "deploy" / "check_release.py"
    script.parent.mkdir(exist_ok=True)
    script.write_text(SCRIPT.read_text())
    command = [sys.executable, str(script), tag]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    return tmp_path


def test_the_notes_of_the_version_are_printed(root: Path) -> None:
    result = check(root, "v1.2.0")
    assert (result.returncode, result.stdout) == (0, "### Added\n\n- A thing.\n")


@pytest.mark.parametrize("tag", ["1.2.0", "v1.2.1", "v1.1.0"])
def test_another_tag_than_the_version_is_refused(root: Path, tag: str) -> None:
    result = check(root, tag)
    assert result.returncode == 1
    assert "pyproject.toml has version 1.2.0, whose tag is v1.2.0" in result.stderr


@pytest.mark.parametrize("heading", ["## [1.2.0]\n", "## [1.3.0] - 2026-01-31\n", ""])
def test_a_version_without_a_dated_section_is_refused(root: Path, heading: str) -> None:
    (root / "CHANGELOG.md").write_text(f"# Changelog\n\n{heading}\n- A thing.\n")
    result = check(root, "v1.2.0")
    assert result.returncode == 1
    assert "CHANGELOG.md says nothing under '## [1.2.0] - DATE'" in result.stderr


def test_this_version_has_notes() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    command = [sys.executable, str(SCRIPT), f"v{version}"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
