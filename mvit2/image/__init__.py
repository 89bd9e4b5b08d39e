"""Picture -> pixels; labelled folders and masks."""
