"""The planner: how many connections a GPU carries, why, and how sure that is."""

from capacity.planner.evidence import Wanted
from capacity.planner.planner import make_plan

__all__ = ["Wanted", "make_plan"]
