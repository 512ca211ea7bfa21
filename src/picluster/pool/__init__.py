"""The rules of the pool, pure: no clock, no database, no network, no randomness.

`model` says what there is, `commands` what can be asked, `roster` indexes it, `pool` decides.
"""
