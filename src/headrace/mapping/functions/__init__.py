"""Function families of the mapping language, one a file."""
