"""HTTP as bytes and connections: server, middleware, SSE, drain."""
