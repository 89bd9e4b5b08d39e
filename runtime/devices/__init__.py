"""The devices that a model can be measured on: what each is, and whether its figures can be believed."""
