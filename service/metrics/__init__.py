"""Prometheus metrics, one module per subject."""
