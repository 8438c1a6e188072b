"""The planner: how many connections a GPU carries, why, and how sure that is."""

from capacity.plan.build import make_plan, record_of
from capacity.plan.evidence import Wanted
from capacity.plan.shape import Plan

__all__ = ["Plan", "Wanted", "make_plan", "record_of"]
