"""Streaming sources that are pulled: one file a connector, all behind one contract."""
