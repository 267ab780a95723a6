"""Conversion Service: mapping sets and the mapping language over HTTP."""

from headrace.services.conversion.exchange import export_sets, import_sets
from headrace.services.conversion.routes import routes
from headrace.services.conversion.service import ConversionService
from headrace.services.conversion.transfer import described

__all__ = ["ConversionService", "described", "export_sets", "import_sets", "routes"]
