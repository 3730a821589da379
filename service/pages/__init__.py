"""The pages for a browser, served as they lie in `static/`."""
