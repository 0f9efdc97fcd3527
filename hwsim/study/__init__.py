"""Studies: a grid over machine, model and run options, simulated by worker processes, one JSON line per point."""

from hwsim.study.load import load_study, study_names
from hwsim.study.points import Axis, Point, Study
from hwsim.study.work import Summary, run_study

__all__ = ["Axis", "Point", "Study", "Summary", "load_study", "run_study", "study_names"]
