"""The main job on real data, as a client would do it: `headrace demo`."""

from headrace.demo.main import main

__all__ = ["main"]
