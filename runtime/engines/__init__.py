"""Model files opened on ONNX Runtime and LiteRT."""
