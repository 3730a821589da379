"""The steps of the Dockerfile in a clean Debian root, for a machine without a container engine."""
