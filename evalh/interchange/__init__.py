"""Recorded data in and out: the JSON Lines files of evalh."""
