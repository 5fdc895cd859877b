"""The API process' link to the engine process: its client, supervision and recovery."""
