"""Who may ask, and how: HTTP in front of the turns that change the pool and the view that shows it."""
