"""The process: its signals, its standard streams and its threads."""
