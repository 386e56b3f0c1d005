"""How the parts of the service do."""
