"""The log of a job: its events in pages, and everything live."""
