"""Early exit: ramps after inner layers, policies that tell when a row leaves, thresholds with a promise."""
