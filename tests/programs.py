"""Programs of others that some tests need: what is not installed is skipped."""

import shutil
from typing import Final

import pytest

SBIN: Final = "/usr/sbin:/usr/local/sbin"


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=SBIN)
    if found is None:
        pytest.skip(f"no {name} here")
    return found
