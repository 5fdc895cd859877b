"""Load on a running server: a side-by-side benchmark, its bench models, and locust users."""
