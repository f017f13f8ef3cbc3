"""Suites, golden sets and frozen references: models and files."""
