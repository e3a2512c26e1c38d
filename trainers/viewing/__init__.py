"""Runs as a page to look at: curves of all that is logged, the table, and episodes turn by turn.

records.py       what the page shows of a run, as JSON
episodes.py      what it shows of a file of episodes
spelling.py      tokens as text
pictures.py      episodes played again, and drawn by their games
state_values.py  V* before each turn; it needs torch
scoring.py       log-ratios of sampled tokens to the reference; it needs torch
page.py          the page, with the records in it or asking for them
serving.py       the page on this machine, live while runs go on
"""

from turngym.trainers.viewing.episodes import file_record
from turngym.trainers.viewing.page import page_of
from turngym.trainers.viewing.records import run_record
from turngym.trainers.viewing.serving import serve

__all__ = ["file_record", "page_of", "run_record", "serve"]
