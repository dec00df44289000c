"""Writes results: JSON in a folder, and the marked sections of docs/performance.md."""

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from bench.contenders import ROOT
from bench.errors import BenchError
from bench.figures import Cell, Sample

PAGE: Final = ROOT / "docs" / "performance.md"
CHART: Final = ROOT / "docs" / "performance.svg"


def write_results(
    folder: Path, samples: Sequence[Sample], machine: Mapping[str, str], options: Namespace, name: str = "results"
) -> None:
    asked = {key: value for key, value in vars(options).items() if key not in {"output", "write_docs", "run"}}
    write_json(folder, name, {"machine": machine, "options": asked, "samples": [asdict(each) for each in samples]})


def write_json(folder: Path, name: str, content: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


def read_samples(folder: Path, name: str = "results") -> list[Sample]:
    return [Sample(**{**each, "cell": Cell(**each["cell"])}) for each in read_json(folder, name)["samples"]]


def read_machine(folder: Path, name: str = "results") -> dict[str, str]:
    told: dict[str, str] = read_json(folder, name)["machine"]
    return told


def read_json(folder: Path, name: str) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    except FileNotFoundError as error:
        raise BenchError(f"There are no {name} in {folder} yet.") from error
    return told


def write_section(name: str, content: str) -> None:
    PAGE.write_text(with_section(PAGE.read_text(), name, content))


def with_section(page: str, name: str, content: str) -> str:
    """The page with new content between `<!-- name -->` and `<!-- /name -->`."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise BenchError(f"The page has no section {name}.")
    return f"{page.partition(begin)[0]}{begin}\n{content.strip()}\n\n{end}{page.partition(end)[2]}"


def write_chart(svg: str) -> None:
    CHART.write_text(svg)
