"""Calls of our own, beside the original's: how flows stand."""

from headrace.services.operator.routes import routes

__all__ = ["routes"]
