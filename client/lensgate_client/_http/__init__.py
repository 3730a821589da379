"""Send the requests of a call with httpx and read their responses."""
