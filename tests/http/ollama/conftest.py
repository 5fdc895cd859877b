"""A live server on fakes for Ollama's dialect."""

from tests.http.openai.conftest import serve

__all__ = ["serve"]
