"""Builds the parts of a server out of its settings: what is loaded, what observes, what serves."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from config import ServeSettings, file_settings
from grammars.constraint import Constraint
from server.access.audit_log import AuditLog
from server.access.key_ring import KeyRing, read_keys
from server.context import ServerContext
from server.engine.client import EngineClient
from server.engine.config import engine_config
from server.engine.supervisor import EngineProcess
from server.generation.admission_queue import AdmissionQueue
from server.generation.deadlines import Deadlines
from server.generation.generator import EngineGenerator
from server.generation.observed_generator import Observe, ObservedGenerator
from server.model.adapters import AdapterScales
from server.model.inspection import inspector
from server.model.tokenizer import LlamaTokenizer, Tokenizer
from server.observability.answer_metrics import AnswerMetrics
from server.observability.logs import level_of, line_form
from server.observability.metrics import ServerMetrics
from server.observability.tracing.open_tracing import Tracing, open_tracing
from server.parsers.reasoning import effort_variables
from server.structured_output.default import default_constraint
from server.templates.builtin import builtin_template
from server.templates.chat_template import ChatTemplate, load

KEEP_THINKING = {
    "preserve_thinking": True,
    "clear_thinking": False,
    "truncate_history_thinking": False,
    "drop_thinking": False,
}
"""Under these names templates ask whether earlier answers keep their thinking."""

logger = logging.getLogger("llamapack")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """What the API process reads of a model file: all but the weights."""

    name: str
    path: Path
    tokenizer: Tokenizer
    chat_template: ChatTemplate
    default_constraint: Constraint | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """What is written down of requests."""

    metrics: ServerMetrics
    audit: AuditLog | None = None
    tracing: Tracing | None = None

    def observers(self) -> list[Observe]:
        """What observes each answer, whatever its key."""
        metrics: Observe = partial(AnswerMetrics, self.metrics)
        return [metrics] if self.tracing is None else [metrics, self.tracing.observe]

    def close(self) -> None:
        """Write what is not written yet."""
        if self.audit is not None:
            self.audit.close()
        if self.tracing is not None:
            self.tracing.close()


@dataclass(frozen=True, slots=True)
class Assembly:
    """All parts of one server; nothing of it runs yet."""

    context: ServerContext
    keys: KeyRing
    observation: Observation
    client: EngineClient
    process: EngineProcess


def assemble(settings: ServeSettings, model_path: Path, draft_path: Path | None = None) -> Assembly:
    """A server for one model. Raises `StartupError` and `ConfigError`."""
    model = load_model(settings, model_path)
    keys = KeyRing(read_keys(settings), time.monotonic())
    observation = open_observation(settings, model)
    metrics = observation.metrics
    client = EngineClient(metrics.observe_step, metrics.observe_death)
    level = logging.getLevelName(level_of(settings.verbosity))
    colors = line_form(settings).colors
    config = engine_config(settings, model_path, level, draft_path, log_colors=colors)
    process = EngineProcess(config, client, settings.hang_timeout)
    metrics.engine_pid = lambda: process.pid
    context = make_context(settings, model, client, observation)
    return Assembly(context, keys, observation, client, process)


def load_model(settings: ServeSettings, path: Path) -> LoadedModel:
    """Read vocabulary and template, and compile the default constraint.

    Raises `VocabularyError`, `ChatTemplateError`, `StartupError` and `ConfigError`.
    """
    inspector.check_vocabulary(path)
    tokenizer = LlamaTokenizer(path, settings.override_kv)
    template = load(
        tokenizer,
        override=_template_override(settings),
        variables=_template_variables(settings),
    )
    return LoadedModel(
        name=settings.alias[0] if settings.alias else path.stem,
        path=path,
        tokenizer=tokenizer,
        chat_template=template,
        default_constraint=default_constraint(settings, tokenizer),
    )


def _template_override(settings: ServeSettings) -> str | None:
    """The template instead of the model's, if there is one. Raises `ConfigError`."""
    text = file_settings.chat_template(settings)
    if text is None or settings.chat_template_file is not None:
        return text
    named = builtin_template(text)
    if named is None and "{" not in text:
        logger.warning(
            "--chat-template: %r is no built-in template, so it is the text itself", text
        )
    return text if named is None else named


def open_observation(settings: ServeSettings, model: LoadedModel) -> Observation:
    """Metrics, and the audit log and traces if asked for. Raises `StartupError`."""
    return Observation(
        ServerMetrics(model.name, settings.max_queue),
        _open_audit_log(settings, model.tokenizer),
        open_tracing(settings, model.name),
    )


def make_context(
    settings: ServeSettings, model: LoadedModel, client: EngineClient, observation: Observation
) -> ServerContext:
    """What handlers work with: a queue before the engine, and observed answers."""
    sequences = EngineGenerator(
        client,
        model.tokenizer,
        AdmissionQueue(settings.max_queue, settings.max_queue_tokens),
        Deadlines(settings.queue_timeout, settings.request_timeout),
    )
    return ServerContext(
        settings=settings,
        model_name=model.name,
        model_path=str(model.path),
        tokenizer=model.tokenizer,
        generator=ObservedGenerator(sequences, observation.observers()),
        enter_queue=sequences.enter_queue,
        engine=client,
        metrics=observation.metrics,
        chat_template=model.chat_template,
        adapter_scales=AdapterScales.of(settings),
        default_constraint=model.default_constraint,
    )


def _open_audit_log(settings: ServeSettings, tokenizer: Tokenizer) -> AuditLog | None:
    if settings.audit_log is None:
        return None

    def text(prompt: Sequence[int]) -> str:
        return tokenizer.text(prompt, special=True)

    return AuditLog(settings.audit_log, text if settings.audit_log_prompts else None)


def _template_variables(settings: ServeSettings) -> dict[str, object]:
    """The template variables of all chats. A variable that is given by its name wins."""
    effort = None if settings.reasoning_effort == "default" else settings.reasoning_effort
    switch = {} if settings.reasoning == "auto" else {"enable_thinking": settings.reasoning == "on"}
    kept = KEEP_THINKING if settings.reasoning_preserve else {}
    return {**effort_variables(effort), **switch, **kept, **settings.chat_template_kwargs}
