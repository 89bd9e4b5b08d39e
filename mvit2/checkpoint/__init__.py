"""Checkpoints found, read and opened."""
