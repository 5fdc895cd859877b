"""Fuzzes a server: `python -m loadtests.fuzz --minutes 60`; the exit status is 1 if it found
anything.

Inputs go to a served process beside an innocent client, because stalls show nowhere else. Chat
templates and model files are tried in the confined processes that the server has for them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from loadtests.fuzz import corpus
from loadtests.fuzz.agent_bodies import AgentBodies
from loadtests.fuzz.bodies import Bodies
from loadtests.fuzz.chat_templates import ChatTemplates
from loadtests.fuzz.family import Family
from loadtests.fuzz.gbnf import Gbnf
from loadtests.fuzz.gguf_heads import GgufHeads
from loadtests.fuzz.http_bytes import HttpBytes
from loadtests.fuzz.schemas import Schemas
from loadtests.fuzz.session import Session
from loadtests.trials.attacks.judge import NO_CLOCK, Bounds

FAMILIES: tuple[Family, ...] = (
    Bodies(),
    AgentBodies(),
    Gbnf(),
    Schemas(),
    ChatTemplates(),
    GgufHeads(),
    HttpBytes(),
)


def main(argv: Sequence[str]) -> int:
    """Run the fuzzer, or replay the inputs that are kept."""
    options = _parser().parse_args(argv)
    names = options.family or [family.name for family in FAMILIES]
    families = [family for family in FAMILIES if family.name in names]
    bounds = NO_CLOCK if options.no_clock else Bounds()
    session = Session(options.found, corpus.KEPT if options.keep else None, bounds)
    try:
        if options.replay:
            session.replay(families)
        else:
            session.fuzz(families, 60 * options.minutes, options.seed)
    except KeyboardInterrupt:
        print("stopped")
    finally:
        session.close()
    for finding in session.findings:
        print(f"FOUND {finding}")
    print(f"fuzz: {len(session.findings)} findings")
    return 1 if session.findings else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [family.name for family in FAMILIES]
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0, help="other inputs for each seed")
    parser.add_argument("--family", action="append", choices=names, help="all by default")
    parser.add_argument(
        "--found", type=Path, default=Path("build/fuzz"), help="folder for inputs that broke bounds"
    )
    parser.add_argument("--keep", action="store_true", help="keep inputs with new errors as seeds")
    parser.add_argument("--replay", action="store_true", help="try the kept inputs, and no others")
    parser.add_argument("--no-clock", action="store_true", help="no bound of time counts")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
