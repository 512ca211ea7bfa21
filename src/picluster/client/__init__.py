"""Talking to a pool: `flows/` is the conversation, `sync.py` and `aio.py` carry it out."""
