"""Keep a bounded window of images in flight."""
