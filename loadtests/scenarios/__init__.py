"""The scenarios, one module each. A module here with a `SCENARIO` is found by its name."""

from __future__ import annotations

import importlib
import pkgutil

from loadtests.harness.scenario import Scenario


def load_all() -> dict[str, Scenario]:
    """Every scenario by name, in the order of the module names."""
    found: dict[str, Scenario] = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        scenario: Scenario | None = getattr(module, "SCENARIO", None)
        if scenario is not None:
            found[scenario.name] = scenario
    return found
