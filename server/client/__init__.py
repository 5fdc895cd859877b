"""Asks a running server over HTTP, as any client does; starts a server where none runs."""
