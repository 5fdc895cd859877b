"""The page over HTTP: at the root for browsers, and its files under `/assets`."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from server.endpoints import JSON, PLAIN_TEXT, Endpoint, get
from server.page.files import INDEX, PageFile, page_files
from server.pool.routing import Handler
from server.startup import StartupError

ASSETS = "/assets"
HTML = "text/html"

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "font-src 'self'",
        "img-src 'self' data: blob:",
        "media-src blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""The page loads from this server alone, and runs no script that stands in its text."""

_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_FOREVER = "public, max-age=31536000, immutable"


class Page:
    """The page of one server. Raises `StartupError` if its files are missing."""

    def __init__(self, prefix: str, files: Mapping[str, PageFile] | None = None) -> None:
        """`prefix` is the path under which the server's routes are."""
        self._files = page_files() if files is None else files
        self._prefix = prefix
        if INDEX not in self._files:
            raise StartupError("the page's files are missing: run `make ui`, or give --no-ui")

    @property
    def public_paths(self) -> list[str]:
        """The paths that need no API key: the page asks for the key itself."""
        return [f"{self._prefix}/{name}" for name in self._files if name != INDEX]

    def root(self, otherwise: Handler) -> Endpoint:
        """The endpoint at the root: the page for browsers, another answer for programs."""

        async def get_page(request: Request) -> Response:
            """The page for browsers; for programs the server's name and the paths to go on."""
            is_browser = "text/html" in request.headers.get("accept", "")
            response = self._answer(request, INDEX) if is_browser else await otherwise(request)
            response.headers.add_vary_header("Accept")
            return response

        return get(get_page, "/", media=(JSON, PLAIN_TEXT, HTML))

    def assets(self) -> Mount:
        """The route of the page's other files."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            if request.method not in ("GET", "HEAD"):
                raise HTTPException(405, headers={"Allow": "GET, HEAD"})
            name = request.url.path.removeprefix(f"{self._prefix}/")
            await self._answer(request, name)(scope, receive, send)

        return Mount(self._prefix + ASSETS, serve)

    def _answer(self, request: Request, name: str) -> Response:
        file = self._files.get(name)
        if file is None:
            raise HTTPException(404)
        coding = file.coding_for(request.headers.get("accept-encoding", ""))
        etag = f'"{file.etag}{"-" if coding else ""}{coding}"'
        headers = {
            **_HEADERS,
            "ETag": etag,
            "Cache-Control": _FOREVER if file.is_hashed else "no-cache",
            "Vary": "Accept-Encoding",
        }
        known = [tag.strip().removeprefix("W/") for tag in _known_tags(request)]
        if etag in known or "*" in known:
            return Response(status_code=304, headers=headers)
        if coding:
            headers["Content-Encoding"] = coding
        return Response(file.bodies[coding], headers=headers, media_type=file.media_type)


def _known_tags(request: Request) -> list[str]:
    return request.headers.get("if-none-match", "").split(",")
