"""Header, metadata and pixels of each image format that is read."""
