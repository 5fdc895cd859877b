"""`python -m loadtests.reception.api FLAGS`: `llamapack serve` in front of the scripted engine."""

from __future__ import annotations

import sys

from server.cli import main
from server.engine import supervisor

if __name__ == "__main__":
    supervisor.ENGINE_MODULE = "loadtests.reception.engine"
    sys.exit(main(["serve", *sys.argv[1:]]))
