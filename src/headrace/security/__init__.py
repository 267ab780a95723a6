"""Tokens, secrets at rest, egress rules, bounded decompression."""
