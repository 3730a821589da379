"""The pages for browsers; `static/` is served without a build step."""
