"""One loop for every method, and what it is made of."""
