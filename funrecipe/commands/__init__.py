"""One module per verb of the command line; see ``funrecipe/cli.py``."""
