"""One file a scenario, or a table of those that are variants of one; found by walking this folder."""
