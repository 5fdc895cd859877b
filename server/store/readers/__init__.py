"""How each program keeps its models."""
