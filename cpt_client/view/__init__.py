"""How jobs look in a terminal: rich renderables made of what the API answers. No input, no output."""
