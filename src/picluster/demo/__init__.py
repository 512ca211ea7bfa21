"""A lab without a lab: simulated boards and people, against a real service, over real HTTP."""
