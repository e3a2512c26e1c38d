"""Runs as a page to look at: curves of all that is logged, the table, and episodes turn by turn.

records.py   what the page shows of a run, as JSON
scoring.py   log-ratios of sampled tokens to the reference; the one file here that needs torch
page.py      the page, with the records in it or asking for them
serving.py   the page on this machine, live while runs go on
"""

from turngym.trainers.viewing.page import page_of
from turngym.trainers.viewing.records import run_record
from turngym.trainers.viewing.serving import serve

__all__ = ["page_of", "run_record", "serve"]
