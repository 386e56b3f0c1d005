"""API keys: what clients prove with who they are."""
