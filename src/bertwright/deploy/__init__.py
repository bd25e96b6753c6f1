"""Serving: an encoder cut into ONNX segments, packs as their inputs, rows that leave between them, and HTTP."""
