"""The names of the draft methods, and the methods that follow from the settings."""

from __future__ import annotations

from collections.abc import Sequence

NONE = "none"
DRAFT_MODEL = "draft-simple"
METHODS = ("ngram-simple", "ngram-mod", DRAFT_MODEL)
"""In the order in which they are asked: the cheapest draft first."""

UNSUPPORTED = (
    *("draft-eagle3", "draft-mtp", "draft-dflash", "draft-dspark"),
    *("ngram-map-k", "ngram-map-k4v", "ngram-cache"),
)
"""Methods of llama-server that llamapack doesn't have."""


def spec_methods(names: Sequence[str]) -> tuple[str, ...]:
    """The methods in the order of `METHODS`, each once; `none` stands alone.

    Raises ValueError, whose message starts with "must", for a name that is no method.
    """
    chosen = {name.lower().replace("_", "-") for name in names}
    if NONE in chosen and len(chosen) > 1:
        raise ValueError("must be none alone, or methods")
    known = (*METHODS, NONE)
    for name in sorted(chosen.difference(known)):
        why = f"{name} is not supported" if name in UNSUPPORTED else f"'{name}' is none"
        raise ValueError(f"must name methods out of {', '.join(known)} ({why})")
    return tuple(name for name in known if name in chosen)


def active_methods(spec_type: Sequence[str], *, has_draft_model: bool) -> tuple[str, ...]:
    """The methods in force: a draft model is asked where nothing else was said."""
    if not spec_type and has_draft_model:
        return (DRAFT_MODEL,)
    return tuple(name for name in spec_type if name != NONE)
