"""HTTP connections: server, sockets, middleware, SSE, drain."""
