"""The HTML page: a shell of style and script, and its sections, each a file of this folder."""
