"""Downloads of models, as LM Studio's clients ask for them and look after them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from server.app_state import state_of
from server.bodies.label import Label
from server.bodies.request_model import RequestModel
from server.catalog.changes import changes_models
from server.catalog.pulls import Pull, PullState
from server.errors import InvalidRequest, NotFound
from server.http.json_response import JsonResponse
from server.requests.body import read_body

Json = dict[str, Any]


class DownloadRequest(RequestModel):
    """`POST /api/v1/models/download`."""

    model: Annotated[Label, Field(min_length=1)]
    """A repository of Hugging Face, by its name or its page's address; or a file's address."""
    quantization: Label = ""

    @property
    def reference(self) -> str:
        """What is to be pulled. Raises `InvalidRequest`."""
        if not self.quantization:
            return self.model
        name = self.model.rpartition("://")[2]
        if ":" in name or name.lower().endswith(".gguf"):
            raise InvalidRequest(
                "'quantization' is about repositories that name none", param="quantization"
            )
        return f"{self.model}:{self.quantization}"


@changes_models
async def download_model(request: Request) -> Response:
    """Begin to download a model. The download goes on without the client."""
    body = await read_body(request, DownloadRequest)
    try:
        state_of(request).pool.find(body.reference)
        return JsonResponse({"status": "already_downloaded"})
    except NotFound:
        pass
    return JsonResponse(_job(state_of(request).pulls.start(body.reference, keeps_on=True)))


async def list_downloads(request: Request) -> Response:
    """All downloads by how they stand. None is ever paused."""
    found: dict[str, list[Json]] = {"downloading": [], "completed": [], "failed": [], "paused": []}
    for pull in state_of(request).pulls.all():
        found[pull.state.value].append(_job(pull))
    return JsonResponse(found)


async def get_download(request: Request) -> Response:
    """One download."""
    return JsonResponse(_job(state_of(request).pulls.get(request.path_params["job_id"])))


def _job(pull: Pull) -> Json:
    job: Json = {
        "job_id": pull.id,
        "status": pull.state.value,
        "total_size_bytes": pull.total,
        "downloaded_bytes": pull.completed,
        "started_at": _time_text(pull.started),
    }
    if pull.state is PullState.COMPLETED and pull.ended is not None:
        job["completed_at"] = _time_text(pull.ended)
    if pull.state is PullState.RUNNING:
        job |= _pace(pull)
    if pull.error is not None:
        job["error"] = str(pull.error)
    return job


def _pace(pull: Pull) -> Json:
    """How fast it is, and when it will be complete, once that can be told."""
    now = datetime.now(UTC).timestamp()
    speed = pull.completed / max(now - pull.started, 1e-3)
    if speed <= 0:
        return {"bytes_per_second": 0.0}
    left = max(pull.total - pull.completed, 0) / speed
    return {"bytes_per_second": speed, "estimated_completion": _time_text(now + left)}


def _time_text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
