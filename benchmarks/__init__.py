"""Measurements of the real service. Figures of one run belong together; absolute times vary with the machine."""
