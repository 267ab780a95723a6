"""The Data Prep mapping language (pure)."""
