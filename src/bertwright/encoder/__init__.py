"""The encoder: embeddings, blocks, heads, and ordinary model folders."""
