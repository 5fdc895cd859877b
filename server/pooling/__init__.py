"""Vectors of prompts, whatever the dialect: computed, pooled by the model, and scaled."""
