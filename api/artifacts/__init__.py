"""Artifacts: the files of a job, other than checkpoints, that are kept in the storage."""
