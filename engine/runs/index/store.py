"""The index between two starts of the program: a small SQLite file that is never the truth.

Whatever is wrong with it (damaged, locked by another process, on a full disk), the index continues without.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

VERSION = 4
"""Version of the rows' format; a file of another version is replaced."""
PATIENCE_S = 0.5
"""Seconds that another process's writing is waited for."""


class Store:
    """Rows of JSON by the run's folder. Every use opens the file again, so that it may be deleted at any time."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def load(self, folder: str | None = None) -> dict[str, dict[str, Any]]:
        """All rows, or that of one folder; what cannot be read is left out."""
        try:
            with closing(self._open(check=True)) as connection:
                which = "WHERE folder = ?" if folder else ""
                query = f"SELECT folder, body FROM runs {which}"
                rows = connection.execute(query, (folder,) if folder else ()).fetchall()
        except (sqlite3.Error, OSError):
            return {}
        bodies = ((folder, _parsed(body)) for folder, body in rows)
        return {folder: body for folder, body in bodies if isinstance(folder, str) and body is not None}

    def save(self, changed: Mapping[str, Mapping[str, Any]], gone: Iterable[str] = ()) -> bool:
        """Write rows and remove others, all or none. False where the file cannot be written now."""
        try:
            with closing(self._open()) as connection, connection:
                rows = [(folder, json.dumps(body)) for folder, body in changed.items()]
                connection.executemany("INSERT OR REPLACE INTO runs VALUES (?, ?)", rows)
                connection.executemany("DELETE FROM runs WHERE folder = ?", [(folder,) for folder in gone])
        except (sqlite3.Error, OSError, ValueError):
            return False
        return True

    def _open(self, check: bool = False) -> sqlite3.Connection:
        """A connection to a file of this version; one that is no database, or fails the check, is made again."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        try:
            return self._connect(check)
        except sqlite3.OperationalError:  # locked, full, read-only: nothing is wrong with the file itself
            raise
        except sqlite3.DatabaseError:
            self.file.unlink(missing_ok=True)
            return self._connect(check=False)

    def _connect(self, check: bool) -> sqlite3.Connection:
        connection = sqlite3.connect(self.file, timeout=PATIENCE_S)
        try:
            if connection.execute("PRAGMA user_version").fetchone() != (VERSION,):
                with connection:
                    connection.execute("DROP TABLE IF EXISTS runs")
                    connection.execute("CREATE TABLE runs (folder TEXT PRIMARY KEY, body TEXT)")
                    connection.execute(f"PRAGMA user_version = {VERSION}")
            elif check and connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("damaged")
        except BaseException:
            connection.close()
            raise
        return connection


def _parsed(body: object) -> dict[str, Any] | None:
    try:
        value = json.loads(body) if isinstance(body, str) else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
