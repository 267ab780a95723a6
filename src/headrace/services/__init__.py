"""The platform APIs, one package each."""
