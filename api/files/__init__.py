"""What the aggregates with files share: sending them, and deleting them from the storage, rows first."""
