"""Studies: a grid over machine, model and run options, simulated by worker processes, one JSON line per point."""

from hwsim.study.load import Axis, Point, Study, load_study, study_names
from hwsim.study.work import Summary, run_study

__all__ = ["Axis", "Point", "Study", "Summary", "load_study", "run_study", "study_names"]
