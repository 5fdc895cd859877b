"""Logs, the audit log and traces."""

from typing import Annotated

from pydantic import Field

from config.groups.field_types import FilePath, OnOffAuto, SettingsGroup, Switch, Whole
from config.option import Group, Option, Spelling


class LoggingSettings(SettingsGroup):
    """Logs, the audit log and traces."""

    verbosity: Annotated[
        Whole,
        Field(ge=-1),
        Option(
            ("-lv", "--verbosity", "--log-verbosity"),
            Group.LOGGING,
            "how much to log: 1 errors, 2 warnings too, 3 the usual amount, 4 more, 5 everything",
            env="LLAMA_ARG_LOG_VERBOSITY",
            metavar="N",
            spellings=(
                Spelling(("-v", "--verbose", "--log-verbose"), "same as --verbosity 5", on="5"),
                Spelling(("--log-disable",), "same as --verbosity -1: log nothing", on="-1"),
            ),
        ),
    ] = 3
    log_file: Annotated[
        FilePath | None,
        Option(
            ("--log-file",),
            Group.LOGGING,
            "file to log to",
            metavar="FILE",
            default_text="standard error",
        ),
    ] = None
    log_json: Annotated[
        Switch,
        Option(
            ("--log-jsonl", "--log-json"),
            Group.LOGGING,
            "log one JSON object a line",
            env="LLAMA_ARG_LOG_JSONL",
        ),
    ] = False
    log_prefix: Annotated[
        Switch,
        Option(
            ("--log-prefix",),
            Group.LOGGING,
            "begin log lines with their level and the request's id",
        ),
    ] = True
    log_timestamps: Annotated[
        Switch,
        Option(("--log-timestamps",), Group.LOGGING, "begin log lines with the time"),
    ] = True
    log_colors: Annotated[
        OnOffAuto,
        Option(
            ("--log-colors",),
            Group.LOGGING,
            "colored warnings and errors; auto means in terminals, unless NO_COLOR is set",
            metavar="on|off|auto",
        ),
    ] = "auto"
    perf: Annotated[
        Switch,
        Option(
            ("--perf",),
            Group.LOGGING,
            "let llama.cpp measure its own times, and log them when the server ends",
        ),
    ] = False
    audit_log: Annotated[
        FilePath | None,
        Option(
            ("--audit-log",),
            Group.LOGGING,
            "file that gets one JSON line for each request, opened again on SIGHUP; - is "
            "standard output",
            env="LLAMAPACK_AUDIT_LOG",
            metavar="FILE",
            default_text="none",
        ),
    ] = None
    audit_log_prompts: Annotated[
        Switch,
        Option(
            ("--audit-log-prompts",),
            Group.LOGGING,
            "write the text of prompts into the audit log",
            env="LLAMAPACK_AUDIT_LOG_PROMPTS",
        ),
    ] = False
    otlp_traces_endpoint: Annotated[
        str | None,
        Option(
            ("--otlp-traces-endpoint",),
            Group.LOGGING,
            "URL of a collector to which OpenTelemetry traces are sent over OTLP and HTTP, such as "
            "http://127.0.0.1:4318/v1/traces; needs the extra otel",
            env="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            metavar="URL",
            default_text="none",
        ),
    ] = None
