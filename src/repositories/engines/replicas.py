"""Replicas: copies of the primary that answer reads. A replica may answer a read if it has enough changes."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from repositories.engines.executors import Executor


class Replica(Protocol):
    """A replica. It has at least all changes up to `seq`."""

    @property
    def seq(self) -> int: ...

    @property
    def reader(self) -> Executor: ...

    @property
    def scans(self) -> Executor: ...

    def snapshot(self) -> AbstractAsyncContextManager[Executor]: ...

    def failed(self) -> None:
        """Note that a read failed here. Other reads do not use this replica for some time."""
        ...


class Replicas(Protocol):
    @property
    def head(self) -> int:
        """The number of the last change of the primary, as far as is known."""
        ...

    def having(self, seq: int) -> Replica | None:
        """A replica that has this change and whose lag is not too large. None if there is none."""
        ...
