"""From a recipe to finished stages: plan, forecast, run."""
