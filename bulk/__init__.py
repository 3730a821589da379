"""Run the gate over millions of files, shards or rows, in one process or on Ray."""
