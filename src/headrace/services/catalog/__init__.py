"""Catalog Service: data sets, their files, and the batches that brought rows."""

from headrace.services.catalog.routes import routes
from headrace.services.catalog.service import CatalogService, unknown

__all__ = ["CatalogService", "routes", "unknown"]
