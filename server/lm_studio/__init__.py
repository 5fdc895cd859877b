"""LM Studio's routes about models: `/api/v0/models` and `/api/v1/models`."""
