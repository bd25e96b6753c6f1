"""A made-up language with its corpus and tasks: writes the files a user would have, and nothing else."""
