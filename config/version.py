"""The versions of installed distributions, and our name for this build."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _installed


def version(distribution: str = "llamapack") -> str:
    """The version as its metadata tells it, or `unknown` where it isn't installed."""
    try:
        return _installed(distribution)
    except PackageNotFoundError:
        return "unknown"


def build_fingerprint() -> str:
    """This build in llama.cpp's form, a `b` with a build number, which clients parse.

    The number is 0, llama.cpp's own word for an unknown build: the wheel doesn't tell its number.
    """
    return f"b0-llamapack-{version()}"
