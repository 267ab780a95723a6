"""Data Access: the Parquet files of batches and data sets, failed records, previews."""

from headrace.services.export.routes import routes

__all__ = ["routes"]
