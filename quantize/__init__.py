"""Post-training quantisation of exported models: calibration, recipes, error analysis."""
