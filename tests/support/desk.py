"""A folder in which clients run as a user would run them, with nothing else of a user around."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

NPM = Path(os.environ.get("LLAMAPACK_AGENTS", "missing")) / "node_modules"
"""What npm installed."""
CLIENTS = Path(os.environ.get("LLAMAPACK_CLIENTS", "missing")) / "bin"
"""What pip installed into an environment of their own."""

SECONDS = 200
"""A client that takes longer hangs, even on a busy machine."""


def has(program: str) -> bool:
    """Whether the client is installed."""
    return any((folder / program).exists() for folder in (NPM / ".bin", CLIENTS))


@dataclass
class Desk:
    """An empty home, and an empty folder to work in."""

    root: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home.mkdir()
        self.work.mkdir()

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def work(self) -> Path:
        return self.root / "work"

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, without a terminal. Raises if it fails."""
        path = f"{NPM / '.bin'}:{CLIENTS}:{os.environ['PATH']}"
        done = subprocess.run(
            command,
            cwd=self.work,
            env={"PATH": path, "HOME": str(self.home), "NO_COLOR": "1", **self.variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def shell(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the lines in a shell; the arguments follow the last one."""
        return self.run("sh", "-ec", f'{script.rstrip()} "$@"', "sh", *arguments)
