"""`headrace backup` and `headrace restore`: copies of a data directory, made while it is served."""
