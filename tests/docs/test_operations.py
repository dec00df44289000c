"""The files in docs/operations for other programs: these accept them, and the metrics in them exist."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client import generate_latest
from tests.programs import program

from api.monitoring.metrics import Metrics
from api.settings import Settings

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "docs" / "operations"
RULES: Final = FOLDER / "prometheus-rules.yml"
DASHBOARD: Final = FOLDER / "grafana.json"
NAME: Final = re.compile(r"\b(?:roster|process)_[a-z_]+\b")
SUFFIX: Final = re.compile(r"_(bucket|count|sum|total)$")


def metrics() -> set[str]:
    """The names of all metrics, including those without a measurement yet."""
    text = generate_latest(Metrics("sqlite").shown).decode()
    return {SUFFIX.sub("", name) for name in re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)}


def expressions() -> Iterator[str]:
    """The queries of the dashboard."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])


@pytest.mark.parametrize("file", [RULES, DASHBOARD, ROOT / "docs" / "operations.md"], ids=lambda file: file.name)
def test_every_metric_that_the_docs_name_exists(file: Path) -> None:
    named = {SUFFIX.sub("", name) for name in NAME.findall(file.read_text())}
    assert named
    assert named <= metrics()


def test_every_metric_of_roster_is_on_the_page_and_all_but_a_few_on_the_dashboard() -> None:
    own = {name for name in metrics() if name.startswith("roster_")}
    assert own <= {SUFFIX.sub("", name) for name in NAME.findall((ROOT / "docs" / "operations.md").read_text())}
    shown = {SUFFIX.sub("", name) for name in NAME.findall(" ".join(expressions()))}
    assert own - shown <= {"roster_reads"}


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels) == len({panel["id"] for panel in panels})


@pytest.mark.parametrize("name", ["nginx.conf", "Caddyfile"])
def test_the_settings_that_a_proxy_needs_exist(name: str) -> None:
    settings = re.findall(r"ROSTER_([A-Z_]+)=", (FOLDER / name).read_text())
    assert {"trusted_proxies", "public_url"} <= {each.lower() for each in settings} <= set(Settings.model_fields)


def passes(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_accepts_the_rules() -> None:
    passes(program("promtool"), "check", "rules", str(RULES))


def test_prometheus_accepts_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    plain = [each.replace("$__rate_interval", "5m").replace("$instance", ".*") for each in expressions()]
    rules = [{"record": f"query_{number}", "expr": query} for number, query in enumerate(plain)]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # which is YAML too
    passes(program("promtool"), "check", "rules", str(file))


def test_caddy_accepts_its_configuration() -> None:
    passes(program("caddy"), "validate", "--adapter", "caddyfile", "--config", str(FOLDER / "Caddyfile"))


def test_nginx_accepts_its_configuration(tmp_path: Path) -> None:
    """With a certificate made for it."""
    nginx, openssl = program("nginx"), program("openssl")
    certificate, key = tmp_path / "certificate", tmp_path / "key"
    request = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=users.example.org")
    passes(openssl, *request, "-keyout", str(key), "-out", str(certificate))
    text = (FOLDER / "nginx.conf").read_text()
    text = text.replace("/etc/ssl/roster.crt", str(certificate)).replace("/etc/ssl/roster.key", str(key))
    file = tmp_path / "nginx.conf"
    file.write_text(text)
    passes(nginx, "-t", "-p", str(tmp_path), "-c", str(file), "-e", "stderr", "-g", f"pid {tmp_path}/pid;")
