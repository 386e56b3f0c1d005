"""The bundled recipes: complete job specs to begin with."""
