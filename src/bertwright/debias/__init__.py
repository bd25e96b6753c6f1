"""Training against a shortcut: losses, attributions, experts and their signals, and a search for shortcuts."""
