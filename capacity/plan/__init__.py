"""The planner: how many connections a GPU carries, why, and how sure that is."""

from capacity.plan.build import make_plan
from capacity.plan.evidence import Wanted

__all__ = ["Wanted", "make_plan"]
