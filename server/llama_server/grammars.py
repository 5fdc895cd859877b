"""`GET /v1/grammars`: the grammars that a request may name."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from grammars.library import shipped
from server.http.json_response import JsonResponse


async def list_grammars(request: Request) -> Response:
    """Name, summary and GBNF text of every shipped grammar."""
    data = [
        {
            "id": grammar.name,
            "object": "grammar",
            "summary": grammar.summary,
            "grammar": grammar.text,
        }
        for grammar in shipped().values()
    ]
    return JsonResponse({"object": "list", "data": data})
