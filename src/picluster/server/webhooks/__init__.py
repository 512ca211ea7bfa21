"""Telling others: what happens in the pool, posted to chat rooms and to programs outside.

`notices.py` says what is worth it, `messages.py` how each kind of receiver reads it, `patience.py` how long one is tried,
`reach.py` which addresses are allowed, `post.py` sends one message, `courier.py` goes round with them, `making.py` is what
admins do. Which process goes round, and how far it has got, is decided by the rules, in `pool/webhooks.py`.
"""
