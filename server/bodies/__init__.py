"""What all objects in bodies of requests have in common."""
