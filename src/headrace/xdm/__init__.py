"""Experience Data Model: composition, field trees, validation, Arrow types (pure)."""
