"""Queues and workers: what waits where, and who is there to take it."""
