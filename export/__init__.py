"""The conductor: torch -> ONNX -> simplified ONNX -> TFLite -> checked bundle, and the command line."""
