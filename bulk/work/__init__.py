"""Score the images of one work unit."""
