"""Pages for people: rendered here, every value escaped, working without script and livelier with it.

`routes.py` has all of them, `frame.py` answers in HTML, `rows.py` makes the rows, `live.py` tells open pages what
changes; the other files are a page or a kind of dialog each.
"""
