"""The verbs: one file for each step that people run."""
