"""What the API tells of itself: Prometheus metrics and logs."""
