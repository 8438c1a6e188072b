"""Migrations of the history, applied by sqlite-utils, which is imported only when one is to be applied.

Importing it brings NumPy, half of what a short command takes to start, and a history that is up to date needs neither.
"""

import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    from sqlite_utils import Database

Step: TypeAlias = "Callable[[Database], None]"
S = TypeVar("S", bound="Callable[[Database], None]")


class Migrations:
    """A set of migrations in their order; `migrations()` above a function adds one, by the function's name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._steps: dict[str, Step] = {}

    def __call__(self) -> Callable[[S], S]:
        """A decorator, spelled as sqlite-utils spells it."""

        def register(step: S) -> S:
            self._steps[step.__name__] = step
            return step

        return register

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._steps)

    def applied(self, connection: sqlite3.Connection) -> set[str]:
        """The names of those that a file has; of a newer version's file some that are not ours."""
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = '_sqlite_migrations'").fetchone():
            return set()
        rows = connection.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = ?", [self.name])
        return {str(name) for (name,) in rows}

    def apply(self, connection: sqlite3.Connection) -> None:
        """Bring a file up to date. Of several processes one does, and the others wait for it."""
        if self.applied(connection) >= self._steps.keys():
            return
        # Only who holds the lock can tell what is left to do: two that found out before would do it twice.
        connection.execute("BEGIN IMMEDIATE")
        try:
            if not self.applied(connection) >= self._steps.keys():
                self._apply(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _apply(self, connection: sqlite3.Connection) -> None:
        from sqlite_utils import Database  # noqa: PLC0415  # see the module
        from sqlite_utils.migrations import Migrations as Applied  # noqa: PLC0415

        ours = Applied(self.name)
        for name, step in self._steps.items():
            ours(name=name)(step)
        ours.apply(Database(connection))
