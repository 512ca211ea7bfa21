"""From "I need a Pi" to an exit code: lease, connect, copy, run, bring back, give back, whatever happens."""
