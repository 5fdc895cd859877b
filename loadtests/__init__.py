"""Load on a running server: a side-by-side benchmark, models for it, trials, and locust users."""
