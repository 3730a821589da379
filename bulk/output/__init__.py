"""The folders, tables and tars that a run writes."""
