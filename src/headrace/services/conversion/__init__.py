"""Conversion Service: mapping sets and the mapping language over HTTP."""
