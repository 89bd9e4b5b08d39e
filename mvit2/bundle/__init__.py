"""What a bundle says of itself: its manifest, and what was measured."""
