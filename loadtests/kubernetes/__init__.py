"""Trials on a real Kubernetes: what is applied there, and how it is asked."""
