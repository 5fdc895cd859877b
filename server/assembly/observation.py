"""What is written down of requests: metrics, audit log, traces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from config import ServeSettings
from server.access.audit_log import AuditLog
from server.assembly.loaded_model import LoadedModel
from server.generation.observed_generator import Observe
from server.model.tokenizer import Tokenizer
from server.observability.answer_metrics import AnswerMetrics
from server.observability.gpus import find_gpus
from server.observability.metrics import ServerMetrics
from server.observability.tracing.open_tracing import Tracing, open_tracing


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


def open_observation(settings: ServeSettings, model: LoadedModel) -> Observation:
    """Metrics, and the audit log and traces if asked for. Raises `StartupError`."""
    metrics = ServerMetrics(model.name, settings.max_queue)
    if settings.metrics and settings.device != ("none",):
        metrics.gpus = find_gpus()
    return Observation(
        metrics,
        _open_audit_log(settings, model.tokenizer),
        open_tracing(settings, model.name),
    )


def _open_audit_log(settings: ServeSettings, tokenizer: Tokenizer) -> AuditLog | None:
    if settings.audit_log is None:
        return None

    def text(prompt: Sequence[int]) -> str:
        return tokenizer.text(prompt, special=True)

    return AuditLog(settings.audit_log, text if settings.audit_log_prompts else None)
