"""A plan written into a model file."""
