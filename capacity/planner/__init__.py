"""The planner: how many connections a GPU carries, why, and how sure that is."""

from capacity.planner.evidence import EvidenceRequest
from capacity.planner.planner import make_plan

__all__ = ["EvidenceRequest", "make_plan"]
