"""Soak test: mixed load with broken images among it, memory over time, and counters against what the client saw."""
