"""How answers are counted and compared."""
