"""The modern API, `/api/v1`: leases, machines, beats, events, history, tokens."""
