"""Platform resources in SQLite."""
