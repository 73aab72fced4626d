"""The projection of the built-in model, and the script that made it."""
