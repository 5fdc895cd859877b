"""What the operator can set: `serve run llamapack_ray.app:build NAME=VALUE ...`."""

from __future__ import annotations

import shlex
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Options(BaseModel):
    """The options of the application. Sizes of replicas are Ray's resources."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    flags: str = ""
    """Flags of `llamapack serve`, as a shell would take them; each replica gets the same."""
    command: str = "llamapack"
    """The program that is the engine: a name on PATH, or a path on every node."""
    min_replicas: Annotated[int, Field(ge=1)] = 1
    max_replicas: Annotated[int, Field(ge=1)] = 1
    gpus: Annotated[float, Field(ge=0)] = 0
    """GPUs of a replica. Ray tells its engine which, and no other replica gets them."""
    cpus: Annotated[float, Field(ge=0)] = 1
    routing: Literal["prefix", "even"] = "prefix"
    """`prefix`: the replica that has seen the longest beginning. `even`: the less busy of two."""
    imbalance: Annotated[int, Field(ge=0)] = 8
    """Requests that the busiest replica may have more than the least busy one before routing
    looks at load alone."""
    waiting: Annotated[float, Field(gt=0)] = 2
    """Waiting requests of each replica that are worth another replica."""
    kv_use: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Share of the KV cache in use by running requests that is worth another replica."""
    upscale_seconds: Annotated[float, Field(ge=0)] = 5
    """How long too much must wait before a replica is added."""
    downscale_seconds: Annotated[float, Field(ge=0)] = 600
    """How long too little must run before a replica goes, and its cached prefixes with it."""
    requests: Annotated[int, Field(ge=1)] = 256
    """Requests that a replica may have at once, waiting ones included."""
    start_seconds: Annotated[float, Field(gt=0)] = 600
    """How long an engine may take to load its model."""
    stop_seconds: Annotated[float, Field(ge=0)] = 80
    """How long a replica that is to go may take to finish what runs."""
    metrics_key: str = ""
    """A key that may read /metrics, if the engine has keys."""

    @field_validator("flags")
    @classmethod
    def _is_shell(cls, value: str) -> str:
        """Raises `ValueError` for flags without their closing quote, or with our own."""
        words = [word.partition("=")[0] for word in shlex.split(value)]
        if ours := [word for word in words if word in ("--host", "--port", "--metrics")]:
            raise ValueError(f"{ours[0]} is the application's own, leave it out")
        return value

    @model_validator(mode="after")
    def _are_in_order(self) -> Options:
        if self.max_replicas < self.min_replicas:
            raise ValueError("max_replicas must not be less than min_replicas")
        return self

    @property
    def arguments(self) -> tuple[str, ...]:
        """The words of `flags`."""
        return tuple(shlex.split(self.flags))
