"""Opening a history file: as its writer or to read it; and saying plainly why one cannot be opened."""

import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

from whisper_ops.errors import UserError
from whisper_ops.history.old_versions import lay_over
from whisper_ops.history.schema import migrations
from whisper_ops.user_files import check_database, reason

_WAIT_FOR_OTHER_WRITERS_SECONDS = 10.0
_AGAIN_SECONDS = 0.05


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open `path`, made and migrated when needed: WAL, `synchronous=NORMAL`, checked against newer versions.

    Raises:
        UserError: it is not a history, is newer than this program, or may not be read or written. It is left untouched.
    """
    check_database(path)
    _check_no_links(path)
    if path.exists():
        check_readable(path, may_be_blank=True)  # another process may just be making it
    else:
        _make_private(path)
    deadline = time.monotonic() + _WAIT_FOR_OTHER_WRITERS_SECONDS
    while True:
        try:
            return _opened(path)
        except (sqlite3.Error, OSError) as error:
            if not _is_being_made(error) or time.monotonic() > deadline:
                raise _cannot("write", path, error) from error
        time.sleep(_AGAIN_SECONDS)  # SQLite offers nothing to wait on; opening may block, as SQLite does


def _make_private(path: Path) -> None:
    """An empty file that only its owner may read: who connects from where, and when, is in a history.

    SQLite gives its log the same rights. An existing file keeps its own.
    """
    with suppress(OSError):  # what is wrong is said when SQLite opens it
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _check_no_links(path: Path) -> None:
    """The files that SQLite keeps beside its own are made and written over, whatever they lead to.

    Raises:
        UserError: one of them is a link.
    """
    for end in ("-wal", "-shm", "-journal"):
        beside = path.with_name(path.name + end)
        if beside.is_symlink():
            raise UserError(f"{beside} is a link to another file, which would be overwritten; remove it")


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=_WAIT_FOR_OTHER_WRITERS_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        migrations.apply(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _is_being_made(error: Exception) -> bool:
    """Whether another process is making the same new history just now: for that SQLite's own timeout does not wait."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without what it says beyond being busy
    return code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED} or any(
        words in str(error) for words in ("already exists", "duplicate column name")
    )


def give_space_back(path: Path) -> None:
    """Rewrite the file without what deleted rows left.

    Raises:
        UserError: it cannot be written, or there is no room for a second one.
    """
    with closing(open_for_writing(path)) as opened:
        try:
            opened.execute("VACUUM")
            opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.OperationalError as error:
            raise UserError(f"cannot vacuum {path}: {error}; nothing was changed") from error


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open an existing history read-only.

    Raises:
        UserError: there is none, it is not a history, is newer than this program, or may not be read.
    """
    if not path.exists():
        raise UserError(f"there is no history at {path}; `whisper-ops dash URL` or `whisper-ops sweep URL` makes one")
    check_readable(path)
    connection = _read_only(path)
    try:
        lay_over(connection)
    except sqlite3.Error as error:
        connection.close()
        raise _cannot("read", path, error) from error
    return connection


def check_readable(path: Path, *, may_be_blank: bool = False) -> None:
    """Look at a file without changing it; a database without any table passes when it `may_be_blank`.

    Raises:
        UserError: the file is no history of ours, or one of a newer version.
    """
    check_database(path)
    try:
        if path.stat().st_size == 0:
            if may_be_blank:
                return
            raise UserError(f"{path} is empty: nothing was recorded in it yet")
        connection = _read_only(path)
        try:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables and may_be_blank:
                return
            if "_sqlite_migrations" not in tables:
                raise UserError(
                    f"{path} is a database, but not a whisper-ops history; name another file with --history"
                )
            newer = sorted(migrations.applied(connection) - set(migrations.names))
        finally:
            connection.close()
    except (sqlite3.Error, OSError) as error:
        raise _cannot("read", path, error) from error
    if newer:
        raise UserError(
            f"{path} was written by a newer whisper-ops (it has the migration {newer[-1]}); "
            "update this one, or name another file with --history"
        )


def _read_only(path: Path) -> sqlite3.Connection:
    # A URI needs the path escaped.
    uri = f"{path.resolve().as_uri()}?mode=ro"
    try:
        return _connect_to_read(uri)
    except sqlite3.OperationalError:
        # WAL needs a place for its shared memory. On a read-only disk nobody writes, so it can be done without,
        # but only when no log waits to be read.
        log = path.with_name(path.name + "-wal")
        if log.exists() and log.stat().st_size:
            raise
        return _connect_to_read(f"{uri}&immutable=1")


def _connect_to_read(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        uri, uri=True, timeout=_WAIT_FOR_OTHER_WRITERS_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("SELECT name FROM sqlite_master LIMIT 1").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _cannot(verb: str, path: Path, error: Exception) -> UserError:
    if isinstance(error, OSError):
        why = reason(error)
    elif "unable to open" in str(error):
        folder = path.resolve().parent
        if not folder.is_dir():
            why = f"there is no folder {folder}"
        else:
            why = (
                "permission denied"
                if not os.access(path if path.exists() else folder, os.R_OK | os.W_OK)
                else str(error)
            )
    else:
        why = str(error)
    if isinstance(error, sqlite3.DatabaseError) and getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_CORRUPT:
        return UserError(
            f"cannot {verb} the history {path}: it is damaged; `whisper-ops history repair` saves what can be read"
        )
    return UserError(f"cannot {verb} the history {path}: {why}; it was left as it is")
