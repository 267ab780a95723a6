"""The data plane: pipeline, worker, supervisor."""
