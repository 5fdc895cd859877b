"""Output formats: from the fields of a request to the constraint of its answer."""
