"""Reads environment variables into given values."""

from collections.abc import Mapping

from config.errors import ConfigError
from config.names import by_flag_key, closest, hint, variables
from config.refused import Refused
from config.sources import Given, Level

# The rest of the environment belongs to other programs. Names that start with LLAMAPACK_ can't be
# checked: beside a Service called llamapack, Kubernetes sets LLAMAPACK_PORT and other variables.
CHECKED_PREFIX = "LLAMA_ARG_"

SECRETS = frozenset({"LLAMA_API_KEY"})
"""Variables that count as set though they are empty: without keys the server is open to all."""


def read_environment(environ: Mapping[str, str]) -> list[Given]:
    """The values that the variables give. An empty variable counts as not set, because compose
    files leave variables empty; those of secrets count.

    Raises ConfigError for a LLAMA_ARG_ variable that is unknown or refused.
    """
    known = variables()
    for name in environ:
        if name.startswith(CHECKED_PREFIX) and name not in known:
            raise ConfigError(f"unknown variable {name}{_hint(name)}")
    given = []
    for name, meaning in known.items():
        text = environ.get(name, "")
        is_set = bool(text) or (name in SECRETS and name in environ)
        value = meaning.value(text, name) if is_set else None
        if value is not None and not isinstance(meaning.target, Refused):
            given.append(Given(meaning.target.field, value, name, Level.VARIABLE))
    return given


def _hint(name: str) -> str:
    right = by_flag_key().get(name.removeprefix(CHECKED_PREFIX).lower())
    return hint(right.env) if right else closest(name, variables())
