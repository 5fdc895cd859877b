"""What is written down of requests: metrics, audit log, traces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from config import ServeSettings
from server.access.access_record import AccessRecord
from server.access.audit_log import AuditLog
from server.generation.observed_generator import Observe
from server.observability.answer_metrics import AnswerMetrics
from server.observability.gpus import find_gpus
from server.observability.metrics import ServerMetrics
from server.observability.tracing.open_tracing import Tracing, open_tracing


@dataclass(frozen=True, slots=True)
class Observation:
    """What is written down of requests."""

    metrics: ServerMetrics
    """Of the one model; on a server with several, of what concerns none of them."""
    audit: AuditLog | None = None
    tracing: Tracing | None = None

    def observers(self, metrics: ServerMetrics | None = None) -> list[Observe]:
        """What observes each answer of a model, whatever the key; without `metrics`, of the one."""
        own = self.metrics if metrics is None else metrics
        counts: Observe = partial(AnswerMetrics, own)
        if self.tracing is None:
            return [counts]
        return [counts, partial(self.tracing.observe, own.model_name)]

    def close(self) -> None:
        """Write what is not written yet."""
        if self.audit is not None:
            self.audit.close()
        if self.tracing is not None:
            self.tracing.close()


def open_observation(settings: ServeSettings, model_name: str) -> Observation:
    """Metrics, and the audit log and traces if asked for. Raises `StartupError`."""
    metrics = ServerMetrics(model_name, settings.max_queue)
    if settings.metrics and settings.device != ("none",):
        metrics.gpus = find_gpus()
    return Observation(metrics, _open_audit_log(settings), open_tracing(settings))


def _open_audit_log(settings: ServeSettings) -> AuditLog | None:
    if settings.audit_log is None:
        return None
    return AuditLog(settings.audit_log, _prompt_text if settings.audit_log_prompts else None)


def _prompt_text(record: AccessRecord, prompt: Sequence[int]) -> str:
    return "" if record.prompt_text is None else record.prompt_text(prompt)
