"""The recipe: every choice a user can make, where it is read from, and what is published under a name."""
