"""One file a scenario, found by walking this folder."""
