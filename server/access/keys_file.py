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
from server.access.key import DIGEST_BYTES, ApiKey, KeyQuota, digest_of
from server.generation.types import MAX_PRIORITY

UNNAMED = "api-key-"
"""What the generated names of unnamed keys begin with."""


def _is_free(name: str) -> str:
    if name.startswith(UNNAMED):
        raise ValueError(f"must not start with {UNNAMED}, as keys without a name do")
    return name


Name = Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9._@-]{1,64}$"), AfterValidator(_is_free)]
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

    @model_validator(mode="after")
    def _has_one_key(self) -> NamedKey:
        if (self.key is None) == (self.key_sha256 is None):
            raise ValueError("must have either key or key_sha256")
        return self

    def to_key(self, name: str) -> ApiKey:
        """The key, with a digest instead of its secret."""
        digest = digest_of(self.key.encode()) if self.key else bytes.fromhex(self.key_sha256 or "")
        return ApiKey(
            name=name,
            digest=digest,
            quota=KeyQuota(self.requests_per_minute, self.tokens_per_minute, self.max_concurrent),
            weight=self.weight,
            max_priority=self.max_priority,
            models=None if self.models is None else frozenset(self.models),
            is_admin=self.admin,
            is_isolated=self.isolate,
        )


class KeysFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: Annotated[dict[Name, NamedKey], Field(min_length=1)]


def parse_keys(content: Mapping[str, Any], path: Path) -> list[ApiKey]:
    """The keys of a parsed file. Raises `ConfigError`: one line with file, key and field."""
    try:
        file = KeysFile.model_validate(content)
    except ValidationError as error:
        raise ConfigError(_line(error.errors(include_url=False)[0], path)) from None
    return [key.to_key(name) for name, key in file.keys.items()]


def _line(error: ErrorDetails, path: Path) -> str:
    """The error without the value at fault, which may be a secret."""
    parts = [str(part) for part in error["loc"] if part != "[key]"]
    subject = ".".join(parts) or "the file"
    if error["type"] == "value_error":
        reason = str(error.get("ctx", {}).get("error", ""))
    else:
        reason = error["msg"][:1].lower() + error["msg"][1:]
    return f"{path}: {subject}: {reason}"
