"""Measurements, each a command that prints a table of ratios taken in one run."""
