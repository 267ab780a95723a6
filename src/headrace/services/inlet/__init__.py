"""Streaming inlets: `POST /collection/{inletId}` and its batch form."""
