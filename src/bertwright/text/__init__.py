"""Raw text to rows of tokens. Nothing here imports torch."""
