"""Shipped test support: conformance suites, crash points, the oracle."""
