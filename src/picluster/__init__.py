"""Share a pool of Raspberry Pis: ask for a board, wait your turn, use it alone, give it back."""

__version__ = "0.1.0"
