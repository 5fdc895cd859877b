"""Addresses, keys, limits and endpoints of the HTTP server."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from config.groups.field_types import FilePath, SettingsGroup, Switch, Whole, Words
from config.option import Group, Option


def _prefix(value: str) -> str:
    if value and not value.startswith("/"):
        raise ValueError("must start with /")
    return value.rstrip("/")


_ORIGIN = re.compile(
    r"\*|([a-z][a-z0-9+.-]*://)?([a-z0-9_-][a-z0-9._-]*|\[[0-9a-f:.]+\])(:[0-9]{1,5})?",
    re.IGNORECASE,
)


def _origins(value: tuple[str, ...]) -> tuple[str, ...]:
    if not all(map(_ORIGIN.fullmatch, value)):
        raise ValueError(
            "must be origins such as https://app.example.com, hosts such as app.example.com or "
            "localhost, or *"
        )
    return value


_HOST_NAME = re.compile(r"\*|(\*\.)?[a-z0-9_-][a-z0-9._-]*|\[?[0-9a-f:.]+\]?", re.IGNORECASE)


def _allowed_hosts(value: tuple[str, ...]) -> tuple[str, ...]:
    if not all(map(_HOST_NAME.fullmatch, value)):
        raise ValueError(
            "must be names such as llm.example.com, without a scheme and a port, or *.example.com, "
            "or *"
        )
    return value


_PULL_HOST = re.compile(r"\*|(\*\.)?[a-z0-9_-][a-z0-9._-]*(:[0-9]{1,5})?")


def _pull_hosts(value: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(name.lower() for name in value)
    if not all(map(_PULL_HOST.fullmatch, names)):
        raise ValueError("must be hosts such as example.com or *.example.com, * or none")
    if "none" in names and len(names) > 1:
        raise ValueError("must be none alone, or hosts")
    return names


def _hosts(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("must name at least one address")
    return tuple(_host(host) for host in value)


def _host(host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not host.endswith(".sock") and (host.count(":") == 1 or "]:" in host or "/" in host):
        raise ValueError("must be addresses without a port, or socket paths that end in .sock")
    return host


class HttpSettings(SettingsGroup):
    """Addresses, keys, limits and endpoints of the HTTP server."""

    host: Annotated[
        Words,
        AfterValidator(_hosts),
        Option(
            ("--host",),
            Group.SERVER,
            "addresses to listen on, comma-separated; a path that ends in .sock is a UNIX socket",
            metavar="HOSTS",
            repeatable=True,
        ),
    ] = ("127.0.0.1",)
    port: Annotated[
        Whole,
        Field(ge=0, le=65535),
        Option(("--port",), Group.SERVER, "port to listen on; 0 takes a free one", metavar="PORT"),
    ] = 8080
    reuse_port: Annotated[
        Switch,
        Option(
            ("--reuse-port",),
            Group.SERVER,
            "let other servers listen on the same port; the system spreads connections over them",
        ),
    ] = False
    path: Annotated[
        FilePath | None,
        Option(
            ("--path",),
            Group.SERVER,
            "folder of files to serve under the paths that the API leaves free",
            env="LLAMA_ARG_STATIC_PATH",
            metavar="DIR",
            default_text="none",
        ),
    ] = None
    ui: Annotated[
        Switch,
        Option(
            ("--ui", "--webui"),
            Group.SERVER,
            "serve the page for browsers at the root; --path replaces the page",
        ),
    ] = True
    responses_store: Annotated[
        Path | None,
        Option(
            ("--responses-store",),
            Group.SERVER,
            "file that keeps the responses of /v1/responses over restarts",
            env="LLAMAPACK_RESPONSES_STORE",
            metavar="FILE",
            default_text="none: in memory",
        ),
    ] = None
    made_models: Annotated[
        Path | None,
        Option(
            ("--made-models",),
            Group.SERVER,
            "file that keeps the models which /api/create and /api/copy make, over restarts",
            env="LLAMAPACK_MADE_MODELS",
            metavar="FILE",
            default_text="none: in memory",
        ),
    ] = None
    api_prefix: Annotated[
        str,
        AfterValidator(_prefix),
        Option(
            ("--api-prefix",),
            Group.SERVER,
            "path under which every route is served, such as /llm",
            metavar="PATH",
        ),
    ] = ""
    api_key: Annotated[
        Words,
        Field(repr=False),
        Option(
            ("--api-key",),
            Group.SERVER,
            "keys that clients may use, comma-separated; none means open to all",
            env="LLAMA_API_KEY",
            metavar="KEYS",
            repeatable=True,
        ),
    ] = ()
    api_key_file: Annotated[
        FilePath | None,
        Option(
            ("--api-key-file",),
            Group.SERVER,
            "file with one key in each line; lines that start with # are comments",
            metavar="FILE",
        ),
    ] = None
    api_keys_toml: Annotated[
        FilePath | None,
        Option(
            ("--api-keys-toml",),
            Group.SERVER,
            "TOML file of named keys with limits, read again on SIGHUP; see docs/access.md",
            env="LLAMAPACK_API_KEYS_TOML",
            metavar="FILE",
        ),
    ] = None
    allowed_hosts: Annotated[
        Words,
        AfterValidator(_allowed_hosts),
        Option(
            ("--allowed-hosts",),
            Group.SERVER,
            "names of this server that requests may have in their Host header, comma-separated, "
            "besides this machine's own; *.example.com is any name below example.com, * is any; "
            "see docs/access.md",
            env="LLAMAPACK_ALLOWED_HOSTS",
            metavar="NAMES",
            default_text="none",
            repeatable=True,
        ),
    ] = ()
    pull_hosts: Annotated[
        Words,
        AfterValidator(_pull_hosts),
        Option(
            ("--pull-hosts",),
            Group.SERVER,
            "hosts from which clients may have the server download models, comma-separated, "
            "besides that of HF_ENDPOINT; *.example.com is any name below example.com, * is any, "
            "none is no host at all; see docs/models.md",
            env="LLAMAPACK_PULL_HOSTS",
            metavar="HOSTS",
            repeatable=True,
        ),
    ] = (
        *("huggingface.co", "*.huggingface.co", "hf.co", "*.hf.co"),
        # Ollama's registry, and where it keeps the files.
        *("registry.ollama.ai", "dd20bb891979d25aebc8bec07b2b3bbc.r2.cloudflarestorage.com"),
    )
    cors_origins: Annotated[
        Words,
        AfterValidator(_origins),
        Option(
            ("--cors-origins",),
            Group.SERVER,
            "origins whose web pages may use the server, comma-separated; a host without a scheme "
            "is that host on any port; localhost is this machine by any name; * is any",
            metavar="ORIGINS",
            default_text="none",
            repeatable=True,
        ),
    ] = ()
    cors_methods: Annotated[
        Words,
        Option(
            ("--cors-methods",),
            Group.SERVER,
            "methods that pages of --cors-origins may use, comma-separated",
            metavar="METHODS",
            repeatable=True,
        ),
    ] = ("GET", "POST", "DELETE", "OPTIONS")
    cors_headers: Annotated[
        Words,
        Option(
            ("--cors-headers",),
            Group.SERVER,
            "headers that pages of --cors-origins may send, comma-separated; * is any",
            metavar="HEADERS",
            repeatable=True,
        ),
    ] = ("*",)
    cors_credentials: Annotated[
        Switch,
        Option(
            ("--cors-credentials",),
            Group.SERVER,
            "let pages of --cors-origins send cookies and stored credentials; refused with "
            "--cors-origins *",
        ),
    ] = False
    ssl_key_file: Annotated[
        FilePath | None,
        Option(("--ssl-key-file",), Group.SERVER, "private key for TLS, PEM", metavar="FILE"),
    ] = None
    ssl_cert_file: Annotated[
        FilePath | None,
        Option(("--ssl-cert-file",), Group.SERVER, "certificate for TLS, PEM", metavar="FILE"),
    ] = None
    timeout: Annotated[
        Whole,
        Field(ge=1),
        Option(
            ("-to", "--timeout"),
            Group.SERVER,
            "seconds that one read from or write to a client may take",
            metavar="S",
        ),
    ] = 3600
    max_body_size: Annotated[
        Whole,
        Field(ge=1),
        Option(
            ("--max-body-size",),
            Group.SERVER,
            "most MiB of a request's body; a larger body is answered 413",
            env="LLAMAPACK_MAX_BODY_SIZE",
            metavar="MIB",
        ),
    ] = 16
    max_answer_size: Annotated[
        Whole,
        Field(ge=1),
        Option(
            ("--max-answer-size",),
            Group.SERVER,
            "most MiB of an answer that wait for its client; of all answers: twice as many",
            env="LLAMAPACK_MAX_ANSWER_SIZE",
            metavar="MIB",
        ),
    ] = 32
    shutdown_delay: Annotated[
        Whole,
        Field(ge=0),
        Option(
            ("--shutdown-delay",),
            Group.SERVER,
            "seconds after SIGTERM in which new requests are still taken, so that proxies have "
            "time to notice that the server isn't ready",
            env="LLAMAPACK_SHUTDOWN_DELAY",
            metavar="S",
        ),
    ] = 0
    shutdown_timeout: Annotated[
        Whole,
        Field(ge=0),
        Option(
            ("--shutdown-timeout",),
            Group.SERVER,
            "seconds after --shutdown-delay in which running answers may end",
            env="LLAMAPACK_SHUTDOWN_TIMEOUT",
            metavar="S",
        ),
    ] = 30
    hang_timeout: Annotated[
        Whole,
        Field(ge=0),
        Option(
            ("--hang-timeout",),
            Group.SERVER,
            "seconds without a sign of life after which the engine is killed and started again; "
            "must be longer than the longest step; 0 never kills it",
            env="LLAMAPACK_HANG_TIMEOUT",
            metavar="S",
        ),
    ] = 120
    sse_ping_interval: Annotated[
        Whole,
        Field(ge=-1),
        Option(
            ("--sse-ping-interval",),
            Group.SERVER,
            "seconds of silence on a stream after which a comment is sent to keep it open; -1 "
            "sends none",
            metavar="S",
        ),
    ] = 30
    strict_model: Annotated[
        Switch,
        Option(
            ("--strict-model",),
            Group.SERVER,
            "answer 404 to a request whose 'model' is another name than the served model's; "
            "otherwise any name is taken",
            env="LLAMAPACK_STRICT_MODEL",
        ),
    ] = False
    slots: Annotated[
        Switch,
        Option(("--slots",), Group.SERVER, "serve GET /slots", env="LLAMA_ARG_ENDPOINT_SLOTS"),
    ] = True
    slot_save_path: Annotated[
        FilePath | None,
        Option(
            ("--slot-save-path",),
            Group.SERVER,
            "existing folder for the files that POST /slots/{id} saves and restores",
            env="LLAMAPACK_SLOT_SAVE_PATH",
            metavar="DIR",
            default_text="none",
        ),
    ] = None
    metrics: Annotated[
        Switch,
        Option(
            ("--metrics",),
            Group.SERVER,
            "serve GET /metrics for Prometheus",
            env="LLAMA_ARG_ENDPOINT_METRICS",
        ),
    ] = False
    props: Annotated[
        Switch,
        Option(
            ("--props",),
            Group.SERVER,
            "answer POST /props with success instead of 501, as llama-server does; neither server "
            "changes anything then",
            env="LLAMA_ARG_ENDPOINT_PROPS",
        ),
    ] = False
