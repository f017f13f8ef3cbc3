"""What other tools recorded, read into the lines of evalh's own files: one module a format, one door for all."""
