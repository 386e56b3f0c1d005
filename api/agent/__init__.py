"""The workers' side of the API: claim and append."""
