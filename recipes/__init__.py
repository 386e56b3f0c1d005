"""Complete job specs, a folder for each dataset; see docs/recipes.md."""
