"""The machine room: what happens in the server, as one stream of events."""
