"""What was planned."""

from whisper_ops.history.database import Database, struct_of
from whisper_ops.history.records import PlanRecord


class Plans:
    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, plan: PlanRecord) -> int:
        """Store a plan; returns its id."""
        return self._db.add("plan", plan)

    def every(self) -> list[PlanRecord]:
        """All plans, oldest first."""
        return [struct_of(row, PlanRecord) for row in self._db.rows("SELECT * FROM plan ORDER BY created_at, id")]
