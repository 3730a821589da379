"""Soak test: mixed load with broken images, memory over time, and counters compared with the client's."""
