"""Helpers of asyncio and threads, independent of the service: periodic work, futures, shared computations."""
