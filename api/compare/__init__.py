"""Jobs side by side: what came of each, and where their specs differ."""
