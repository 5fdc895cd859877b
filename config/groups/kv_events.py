"""Events that tell routers which blocks of tokens the cache holds."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from config.groups.field_types import SettingsGroup, Whole
from config.option import Group, Option

_ENDPOINT = re.compile(r"tcp://\S+:[0-9]{1,5}|ipc://\S+")
_PLACES = ("{host}", "{port}", "{model}")


def _endpoint(value: str) -> str:
    if not _ENDPOINT.fullmatch(value):
        raise ValueError("must be an address such as tcp://*:5557, or a path such as ipc:///run/kv")
    return value


def _topic(value: str) -> str:
    rest = value
    for place in _PLACES:
        rest = rest.replace(place, "")
    if "{" in rest or "}" in rest:
        raise ValueError(f"may have no other places than {', '.join(_PLACES)}")
    return value


class KvEventSettings(SettingsGroup):
    """Events that tell routers which blocks of tokens the cache holds."""

    kv_events_endpoint: Annotated[
        str | None,
        AfterValidator(lambda value: value if value is None else _endpoint(value)),
        Option(
            ("--kv-events-endpoint",),
            Group.SERVER,
            "publish by ZeroMQ, in vLLM's form, which prefixes the cache holds: listen on "
            "tcp://*:5557, or connect to tcp://HOST:5557; whoever reads it reads all prompts; "
            "see docs/routing.md",
            env="LLAMAPACK_KV_EVENTS_ENDPOINT",
            metavar="ENDPOINT",
            default_text="none",
        ),
    ] = None
    kv_events_replay_endpoint: Annotated[
        str | None,
        AfterValidator(lambda value: value if value is None else _endpoint(value)),
        Option(
            ("--kv-events-replay-endpoint",),
            Group.SERVER,
            "answer subscribers there who ask for events that they have missed",
            env="LLAMAPACK_KV_EVENTS_REPLAY_ENDPOINT",
            metavar="ENDPOINT",
            default_text="none",
        ),
    ] = None
    kv_events_topic: Annotated[
        str,
        AfterValidator(_topic),
        Option(
            ("--kv-events-topic",),
            Group.SERVER,
            "topic of these events; {host}, {port} and {model} are replaced by the server's own",
            env="LLAMAPACK_KV_EVENTS_TOPIC",
            metavar="TOPIC",
        ),
    ] = "kv@{host}:{port}@{model}"
    kv_events_block_size: Annotated[
        Whole,
        Field(ge=8, le=4096),
        Option(
            ("--kv-events-block-size",),
            Group.SERVER,
            "tokens of a block in these events and in vllm:cache_config_info",
            env="LLAMAPACK_KV_EVENTS_BLOCK_SIZE",
            metavar="N",
        ),
    ] = 64
