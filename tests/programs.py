"""Programs that some tests need. A test whose program is not installed is skipped."""

import shutil
from typing import Final

import pytest

SBIN: Final = "/usr/sbin:/usr/local/sbin"


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=SBIN)
    if found is None:
        pytest.skip(f"no {name} here")
    return found
