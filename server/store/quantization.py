"""Names of model files: quantizations, parts, and the files that belong to a model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from server.model.split_name import SplitName
from server.store.errors import StoreError
from server.store.sizes import human_size

PREFERRED = ("Q4_K_M", "Q8_0")
_PROJECTOR = "mmproj"
# Names of GGUF files that belong to a model but aren't models.
_COMPANIONS = (_PROJECTOR, "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-")
_QUANT = re.compile(
    r"(?:^|[-._])((?:UD-)?(?:I?Q\d(?:_[A-Z0-9]+)*|B?F(?:16|32|64)|FP(?:4|8|16|32)|TQ\d_\d"
    r"|MXFP4(?:_MOE)?|NVFP4))(?=[-.]|$)",
    re.IGNORECASE,
)
_MOST_LISTED = 12


def is_model(name: str) -> bool:
    """Whether this is a model in one file, or the first file of a split model."""
    base = name.rpartition("/")[2]
    if not base.lower().endswith(".gguf") or any(part in base.lower() for part in _COMPANIONS):
        return False
    split = SplitName.parse(base)
    return split is None or split.number == 1


def is_projector(name: str) -> bool:
    """Whether this file lets a model see or hear."""
    base = name.rpartition("/")[2].lower()
    return base.endswith(".gguf") and _PROJECTOR in base


def stem_of(name: str) -> str:
    """A file's name without folder, suffix and the numbers of parts."""
    base = name.rpartition("/")[2]
    split = SplitName.parse(base)
    return base.removesuffix(".gguf") if split is None else split.stem


def quant_of(name: str) -> str:
    """The quantization in a file's name, in capitals; empty if there is none."""
    found = _QUANT.findall(stem_of(name))
    return found[-1].upper() if found else ""


def choose(sizes: Mapping[str, int | None], quant: str | None, place: str) -> str:
    """The file for the quantization, or the best file if no quantization is given.

    `sizes` are bytes by file name. Raises `StoreError` with what there is instead.
    """
    models = [name for name in sizes if is_model(name)]
    for wanted in (quant,) if quant else PREFERRED:
        if found := _with_quant(models, wanted):
            return found
    if not models:
        raise StoreError(f"{place} has no GGUF model")
    if quant is not None:
        raise StoreError(
            f"{place} has no model with quantization {quant}; {offer(models, sizes, place)}"
        )
    return models[0]


def offer(models: Sequence[str], sizes: Mapping[str, int | None], place: str) -> str:
    """What can be taken instead, as the end of a message."""
    quants: dict[str, int] = {}
    for name in models:
        quants.setdefault(quant_of(name) or stem_of(name), _size(name, sizes))
    shown = [
        f"{quant} ({human_size(size)})" if size else quant
        for quant, size in sorted(quants.items(), key=lambda item: item[1])
    ]
    more = f" and {len(shown) - _MOST_LISTED} more" if len(shown) > _MOST_LISTED else ""
    return f"there are {', '.join(shown[:_MOST_LISTED])}{more}" if shown else f"{place} is empty"


def parts(chosen: str, names: Sequence[str] | Mapping[str, object], place: str) -> list[str]:
    """All files of the chosen model, the first file first. Raises `StoreError`."""
    found = all_parts(chosen)
    if missing := [part for part in found if part not in names]:
        raise StoreError(f"{place} lacks {missing[0]}, a part of the split model {chosen}")
    return found


def all_parts(chosen: str) -> list[str]:
    """The names that the files of a model have, by the name of the first."""
    folder, slash, base = chosen.rpartition("/")
    split = SplitName.parse(base)
    return [chosen] if split is None else [folder + slash + name for name in split.all_names()]


def projector(model: str, names: Sequence[str] | Mapping[str, object]) -> str | None:
    """The projector that belongs to a model: the nearest folder's, then the nearest precision's."""
    folder = model.rpartition("/")[0]
    bits = _bits(model)
    fitting = [
        name for name in names if is_projector(name) and _holds(name.rpartition("/")[0], folder)
    ]
    return min(
        fitting,
        key=lambda name: (-name.count("/"), abs(_bits(name) - bits), name),
        default=None,
    )


def _holds(outer: str, inner: str) -> bool:
    return not outer or inner == outer or inner.startswith(f"{outer}/")


def _bits(name: str) -> int:
    digits = re.search(r"\d+", quant_of(name))
    return int(digits[0]) if digits else 16


def _with_quant(models: Sequence[str], wanted: str) -> str | None:
    """The file whose quantization is this; otherwise one that has the word in its name."""
    if exact := next((name for name in models if quant_of(name) == wanted.upper()), None):
        return exact
    word = re.compile(rf"(?<![A-Za-z0-9]){re.escape(wanted)}[.-]", re.IGNORECASE)
    return next((name for name in models if word.search(name)), None)


def _size(name: str, sizes: Mapping[str, int | None]) -> int:
    return sum(sizes.get(part) or 0 for part in all_parts(name))
