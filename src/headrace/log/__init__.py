"""The durable record log."""
