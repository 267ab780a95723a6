"""Conversion Service: mapping sets and the mapping language over HTTP."""

from headrace.services.conversion.routes import routes
from headrace.services.conversion.service import ConversionService

__all__ = ["ConversionService", "routes"]
