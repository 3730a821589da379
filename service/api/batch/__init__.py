"""Many images in one request, answered line by line while the upload goes on."""
