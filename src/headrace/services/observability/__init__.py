"""Observability Insights: what was ingested, as time series computed from commits."""

from headrace.services.observability.calls import InletCalls
from headrace.services.observability.routes import routes

__all__ = ["InletCalls", "routes"]
