"""Headrace: self-hosted streaming sources with the Experience Platform APIs."""

__all__ = ["__version__"]

__version__ = "0.1.0"
