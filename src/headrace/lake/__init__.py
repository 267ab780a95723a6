"""Apache Iceberg tables: writing, the commit protocol, upkeep, queries."""
