"""The version of an installed distribution."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _installed


def version(distribution: str = "llamapack") -> str:
    """The version as its metadata tells it, or `unknown` where it isn't installed."""
    try:
        return _installed(distribution)
    except PackageNotFoundError:
        return "unknown"
