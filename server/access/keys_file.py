"""The TOML file of named keys: its shape, and how to read it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from config import ConfigError
from server.access import cache_owner
from server.access.key import DIGEST_BYTES, ApiKey, KeyQuota, digest_of
from server.generation.types import MAX_PRIORITY

UNNAMED = "api-key-"
"""What the generated names of unnamed keys begin with."""


def _is_free(name: str) -> str:
    if name.startswith(UNNAMED):
        raise ValueError(f"must not start with {UNNAMED}, as keys without a name do")
    return name


PlainName = Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9._@-]{1,64}$")]
Name = Annotated[PlainName, AfterValidator(_is_free)]
Limit = Annotated[StrictInt, Field(ge=1, le=10**12)]


class NamedKey(BaseModel):
    """One table `[keys.NAME]`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    key: Annotated[StrictStr, Field(min_length=1)] | None = None
    key_sha256: (
        Annotated[StrictStr, Field(pattern=f"^[0-9a-fA-F]{{{2 * DIGEST_BYTES}}}$")] | None
    ) = None
    requests_per_minute: Limit | None = None
    tokens_per_minute: Limit | None = None
    max_concurrent: Limit | None = None
    weight: Annotated[float, Field(gt=0, le=1000)] = 1.0
    max_priority: Annotated[StrictInt, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0
    models: Annotated[list[StrictStr], Field(min_length=1)] | None = None
    admin: StrictBool = False
    isolate: StrictBool = False
    cache_group: PlainName | None = None

    @model_validator(mode="after")
    def _has_one_key(self) -> NamedKey:
        if (self.key is None) == (self.key_sha256 is None):
            raise ValueError("must have either key or key_sha256")
        return self

    @model_validator(mode="after")
    def _shares_in_one_way(self) -> NamedKey:
        if self.isolate and self.cache_group is not None:
            raise ValueError("must not have both isolate and cache_group")
        return self

    def to_key(self, name: str, *, shares: bool) -> ApiKey:
        """The key, with a digest instead of its secret.

        `shares` says whether keys that say nothing else share their cached prefixes.
        """
        digest = digest_of(self.key.encode()) if self.key else bytes.fromhex(self.key_sha256 or "")
        return ApiKey(
            name=name,
            digest=digest,
            quota=KeyQuota(self.requests_per_minute, self.tokens_per_minute, self.max_concurrent),
            weight=self.weight,
            max_priority=self.max_priority,
            models=None if self.models is None else frozenset(self.models),
            is_admin=self.admin,
            cache_owner=self._cache_owner(name, shares),
        )

    def _cache_owner(self, name: str, shares: bool) -> str:
        if self.cache_group is not None:
            return cache_owner.of_group(self.cache_group)
        return cache_owner.EVERYBODY if shares and not self.isolate else cache_owner.of_key(name)


class KeysFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: Annotated[dict[Name, NamedKey], Field(min_length=1)]


def parse_keys(content: Mapping[str, Any], path: Path, *, shares: bool) -> list[ApiKey]:
    """The keys of a parsed file; `shares` as in `NamedKey.to_key`.

    Raises `ConfigError`: one line with file, key and field.
    """
    try:
        file = KeysFile.model_validate(content)
    except ValidationError as error:
        raise ConfigError(_line(error.errors(include_url=False)[0], path)) from None
    return [key.to_key(name, shares=shares) for name, key in file.keys.items()]


def _line(error: ErrorDetails, path: Path) -> str:
    """The error without the value at fault, which may be a secret."""
    parts = [str(part) for part in error["loc"] if part != "[key]"]
    subject = ".".join(parts) or "the file"
    if error["type"] == "value_error":
        reason = str(error.get("ctx", {}).get("error", ""))
    else:
        reason = error["msg"][:1].lower() + error["msg"][1:]
    return f"{path}: {subject}: {reason}"
