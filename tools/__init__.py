"""What makes parts of the repository from others; `make generated` runs all of it, and tests hold the results equal."""
