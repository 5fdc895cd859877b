"""Names of samplers, their one-letter codes, and other ways to write the names."""

CODES = {
    "e": "penalties",
    "d": "dry",
    "s": "top_n_sigma",
    "k": "top_k",
    "y": "typ_p",
    "p": "top_p",
    "m": "min_p",
    "x": "xtc",
    "t": "temperature",
    "i": "infill",
    "a": "adaptive_p",
}
NAMES = tuple(CODES.values())
DEFAULT_ORDER = NAMES[:9]

_NICKNAMES = {"nucleus": "top_p", "temp": "temperature", "typ": "typ_p", "typicalp": "typ_p"}
_GONE = frozenset({"tfs", "tfsz"})
"""Samplers that llama.cpp had once. Presets of clients still list them, as SillyTavern's does."""
_BY_BARE_NAME = {name.replace("_", ""): name for name in NAMES} | _NICKNAMES


def sampler_name(written: str) -> str:
    """The canonical name of a sampler written as `top_k`, `top-k`, `topk` or by a nickname.

    Raises ValueError, whose message starts with "must", for a sampler that doesn't exist.
    """
    name = _BY_BARE_NAME.get(_bare(written))
    if name is None:
        raise ValueError(f"must name samplers out of {', '.join(NAMES)}")
    return name


def to_samplers(value: object) -> object:
    """Names split by `;` or `,`, or a TOML list of names, as canonical names in their order.

    A sampler that llama.cpp no longer has is left out. A sampler under two names is taken once,
    where it stands first: clients list an old name and a new one for servers of every age.

    Raises ValueError, whose message starts with "must", for unknown and for repeated names: each
    sampler of a chain costs time at every token.
    """
    if isinstance(value, str):
        value = value.replace(",", ";").split(";")
    if not isinstance(value, list | tuple):
        raise ValueError("must be a list of sampler names")
    written = [bare for bare in map(_bare, map(str, value)) if bare and bare not in _GONE]
    if repeated := next((one for one in written if written.count(one) > 1), None):
        name = sampler_name(repeated)
        raise ValueError(f"must name each sampler once ('{name}' stands there again)")
    return list(dict.fromkeys(map(sampler_name, written)))


def _bare(written: str) -> str:
    return written.strip().lower().replace("_", "").replace("-", "")


def names_from_codes(codes: str) -> str:
    """`edskypmxt` as the `;`-separated names that it stands for.

    Raises ValueError, whose message starts with "must", for a letter that has no sampler.
    """
    if unknown := [code for code in codes if code not in CODES]:
        raise ValueError(f"must use the letters {''.join(CODES)} only ('{unknown[0]}' is none)")
    return ";".join(CODES[code] for code in codes)
