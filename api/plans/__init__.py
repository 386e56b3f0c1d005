"""Plans: what a training will do and cost, before it is submitted."""
