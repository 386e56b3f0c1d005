"""The whole service on one machine: one supervisor with a broker, the API and a worker as children."""
