"""Live tuning: what `live.toml` in a run folder asks for is taken between two steps, recorded and repeated.

settings.py   which settings may change while a run learns, and what a file of them asks for; it needs no torch
changes.py    the record of what was taken, by which a resumed run and a replay take the same at the same steps
files.py      `live.toml` as it is watched, the echo that answers it, and how the page of `turngym view` writes it
values.py     what becomes of V* of stage 1, and of what began with it
tuning.py     the settings of a run as they are now
"""
