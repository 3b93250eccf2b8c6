"""Saved plans as repositories of models for other servers; `partition.export.triton` writes one for Triton."""
