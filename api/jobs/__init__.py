"""The clients' side of the API: jobs, their logs and metrics."""
