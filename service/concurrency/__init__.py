"""Helpers of asyncio and threads that know nothing of the service: periodic work, futures, shared computations."""
