"""From a request's fields to what constrains its answer."""
