"""The store: one DuckDB file. Only this package speaks SQL and imports duckdb, and only when a file is opened."""
