"""Millions of files, shards or rows through the same gate, in one process or on Ray."""
