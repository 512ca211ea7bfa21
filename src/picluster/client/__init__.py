"""Talking to a pool: `flows.py` is the conversation, `sync.py` and `aio.py` carry it out."""
