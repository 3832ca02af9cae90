"""Models of tables: rows become numbers, a model learns from them, and an ONNX graph reads the same numbers."""
