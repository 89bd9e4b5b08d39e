"""Under which preprocessing a model is at its best."""
