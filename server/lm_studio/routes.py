"""The endpoints of LM Studio's dialect."""

from __future__ import annotations

from server.endpoints import get, post
from server.lm_studio.downloads import (
    DownloadRequest,
    download_model,
    get_download,
    list_downloads,
)
from server.lm_studio.listing import get_model_v0, list_models_v0, list_models_v1
from server.lm_studio.loading import LoadRequest, UnloadRequest, load_model, unload_model

PREFIXES = ("/api/v0", "/api/v1")
"""Paths that begin so answer errors in OpenAI's shape, as LM Studio does."""

ENDPOINTS = (
    get(list_models_v0, "/api/v0/models"),
    get(get_model_v0, "/api/v0/models/{model:path}"),
    get(list_models_v1, "/api/v1/models"),
    post(download_model, "/api/v1/models/download", body=DownloadRequest, for_admins=True),
    get(list_downloads, "/api/v1/models/download/status", for_admins=True),
    get(get_download, "/api/v1/models/download/status/{job_id}", for_admins=True),
    post(load_model, "/api/v1/models/load", body=LoadRequest),
    post(unload_model, "/api/v1/models/unload", body=UnloadRequest, for_admins=True),
)
