"""The software bill of materials: Python packages, and the compiled libraries inside their wheels."""
