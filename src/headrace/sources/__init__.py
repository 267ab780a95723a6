"""Connectors, one a file: connection spec and reader."""
