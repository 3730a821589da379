"""Engines that run work units: threads of one process, or Ray."""
