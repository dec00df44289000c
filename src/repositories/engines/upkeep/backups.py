"""The results of a backup and of a restore, for operators."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of a file: the number of rows of each table, and the number of its last change."""

    rows: Mapping[str, int]
    last_change: int

    def __str__(self) -> str:
        rows = ", ".join(f"{count} {name}" for name, count in self.rows.items() if count)
        return f"{rows or 'nothing'}; the last change is {self.last_change}"


@dataclass(frozen=True, slots=True)
class Backup:
    """A complete copy, which was checked and whose rows were counted."""

    file: Path
    contents: Contents

    def __str__(self) -> str:
        return f"backed up to {self.file}: {self.contents}"


@dataclass(frozen=True, slots=True)
class Undone:
    """Removals after the backup that the restore has undone: the ids of erased users and of revoked keys."""

    erased: Sequence[int] = ()
    revoked: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Restored:
    """A restored database. `kept` is the previous file. New numbers are higher than `start`."""

    backup: Path
    contents: Contents
    start: int
    kept: Path | None
    undone: Undone

    def __str__(self) -> str:
        kept = f"The previous file is kept as {self.kept}." if self.kept else ""
        numbers = (
            f"New ids and changes continue from {self.start + 1}. Readers of the feed who have seen changes after "
            f"{self.contents.last_change} get a 410 and have to start over."
        )
        lines = (f"restored from {self.backup}: {self.contents}", kept, numbers, *self._advice())
        return "\n".join(filter(None, lines))

    def _advice(self) -> Sequence[str]:
        if self.kept is None:
            return ["Keys that were revoked since the backup are valid again: see roster keys list."]
        revoked = [
            f"Revoked since the backup, valid again: key {id}. Run: roster keys revoke {id}"
            for id in self.undone.revoked
        ]
        erased = [
            f"Erased since the backup, there again: user {id}. Send: DELETE /users/{id}?purge=true"
            for id in self.undone.erased
        ]
        return [*revoked, *erased]
