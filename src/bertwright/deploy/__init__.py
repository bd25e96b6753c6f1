"""Serving on ONNX Runtime: segments, packs as inputs, the batcher and the HTTP server. Serving needs no torch."""
