"""Many runs from few bases: which runs a sweep has, where they lie, and how several are done at once."""

from turngym.trainers.launch.run_folder import share_base
from turngym.trainers.sweeps.bases import makes_base
from turngym.trainers.sweeps.plan import PlannedRun, begin, check_begun, state_of
from turngym.trainers.sweeps.workers import Done, Work, Workers, cores

__all__ = [
    "Done",
    "PlannedRun",
    "Work",
    "Workers",
    "begin",
    "check_begun",
    "cores",
    "makes_base",
    "share_base",
    "state_of",
]
