"""Portraits drawn with numpy and Pillow: faces to test and demonstrate with that belong to nobody."""
