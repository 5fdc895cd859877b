"""Builds the parts of a server out of its settings: what is loaded, what observes, what serves."""

from __future__ import annotations

import dataclasses
import logging
import time
from dataclasses import dataclass
from pathlib import Path

from config import ServeSettings
from protocol.config import EngineConfig
from server.access.key_ring import KeyRing, read_keys
from server.assembly.loaded_model import LoadedModel, load_model
from server.assembly.observation import Observation, open_observation
from server.context import ServerContext
from server.engine.client import EngineClient
from server.engine.config import engine_config
from server.engine.supervisor import EngineProcess
from server.generation.admission_queue import AdmissionQueue
from server.generation.deadlines import Deadlines
from server.generation.generator import EngineGenerator
from server.generation.observed_generator import ObservedGenerator
from server.kv_events.events import KvEvents, LoraName, ModelBlocks, open_kv_events
from server.model.adapters import AdapterScales
from server.observability.logs import level_of, line_form
from server.observability.metrics import ServerMetrics


@dataclass(frozen=True, slots=True)
class Assembly:
    """All parts of one server; nothing of it runs yet."""

    context: ServerContext
    keys: KeyRing
    observation: Observation
    client: EngineClient
    process: EngineProcess
    kv_events: KvEvents | None


def assemble(settings: ServeSettings, model_path: Path, draft_path: Path | None = None) -> Assembly:
    """A server for one model. Raises `StartupError` and `ConfigError`."""
    model = load_model(settings, model_path)
    keys = KeyRing(read_keys(settings), time.monotonic())
    observation = open_observation(settings, model.name)
    metrics = observation.metrics
    kv_events = open_kv_events(settings)
    blocks = watched_blocks(
        kv_events,
        model.name,
        lambda lora: context.adapter_scales.name_of(client.model.adapters, lora),
    )
    client = make_client(metrics, blocks)
    config = config_of(settings, model_path, draft_path)
    process = EngineProcess(config, client, settings.hang_timeout)
    metrics.engine_pid = lambda: process.pid
    context = make_context(settings, model, client, observation)
    if blocks is not None:
        context.adapter_scales.on_change = blocks.adapters_changed
        context = dataclasses.replace(context, kv_events=kv_events)
    return Assembly(context, keys, observation, client, process, kv_events)


def watched_blocks(
    kv_events: KvEvents | None, name: str, lora_name: LoraName
) -> ModelBlocks | None:
    """Whom the engine of a model tells of its blocks; None if nobody wants to know."""
    return None if kv_events is None else kv_events.of_model(name, lora_name)


def make_client(metrics: ServerMetrics, blocks: ModelBlocks | None) -> EngineClient:
    """A client whose engine tells of its steps and of its blocks."""
    if blocks is None:
        return EngineClient(metrics.observe_step, metrics.observe_death)

    def on_death() -> None:
        metrics.observe_death()
        blocks.engine_ended()

    return EngineClient(metrics.observe_step, on_death, blocks.changed)


def config_of(settings: ServeSettings, model_path: Path, draft_path: Path | None) -> EngineConfig:
    """The engine's configuration, with the form of its log."""
    level = logging.getLevelName(level_of(settings.verbosity))
    colors = line_form(settings).colors
    return engine_config(settings, model_path, level, draft_path, log_colors=colors)


def make_context(
    settings: ServeSettings,
    model: LoadedModel,
    client: EngineClient,
    observation: Observation,
    metrics: ServerMetrics | None = None,
) -> ServerContext:
    """What handlers work with: a queue before the engine, and observed answers.

    `metrics` are the model's own, on a server with several models.
    """
    metrics = observation.metrics if metrics is None else metrics
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
        generator=ObservedGenerator(sequences, observation.observers(metrics)),
        enter_queue=sequences.enter_queue,
        engine=client,
        metrics=metrics,
        chat_template=model.chat_template,
        adapter_scales=AdapterScales.of(settings),
        default_constraint=model.default_constraint,
    )
