"""llamapack on Ray Serve: replicas with an engine each, behind a router that knows prefixes."""
