"""How many tokens a second the API process takes from an engine and sends to clients."""
