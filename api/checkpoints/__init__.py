"""Checkpoints: those that are registered and kept, their files, and the weights for export."""
