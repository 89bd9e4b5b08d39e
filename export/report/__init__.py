"""report.html and the model card of a bundle."""
