"""Reports of a run: terminal and HTML."""
