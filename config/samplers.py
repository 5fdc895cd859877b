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
_BY_BARE_NAME = {name.replace("_", ""): name for name in NAMES} | _NICKNAMES


def sampler_name(written: str) -> str:
    """The canonical name of a sampler written as `top_k`, `top-k`, `topk` or by a nickname.

    Raises ValueError, whose message starts with "must", for a sampler that doesn't exist.
    """
    bare = written.strip().lower().replace("_", "").replace("-", "")
    name = _BY_BARE_NAME.get(bare)
    if name is None:
        raise ValueError(f"must name samplers out of {', '.join(NAMES)}")
    return name


def to_samplers(value: object) -> object:
    """Names split by `;` or `,`, or a TOML list of names, as canonical names in their order.

    Raises ValueError, whose message starts with "must", for unknown and for repeated names: each
    sampler of a chain costs time at every token.
    """
    if isinstance(value, str):
        value = value.replace(",", ";").split(";")
    if not isinstance(value, list | tuple):
        raise ValueError("must be a list of sampler names")
    names = [sampler_name(str(name)) for name in value if str(name).strip()]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"must name each sampler once ('{repeated}' stands there again)")
    return names


def names_from_codes(codes: str) -> str:
    """`edskypmxt` as the `;`-separated names that it stands for.

    Raises ValueError, whose message starts with "must", for a letter that has no sampler.
    """
    if unknown := [code for code in codes if code not in CODES]:
        raise ValueError(f"must use the letters {''.join(CODES)} only ('{unknown[0]}' is none)")
    return ";".join(CODES[code] for code in codes)
