"""The Dockerfiles and the compose file: no engine is needed, what they say is linted, and run as processes."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import promql_parser
import pytest
import soundfile
import yaml
from hostile import hostile_folder, ran_in
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from prometheus_client.parser import text_string_to_metric_families

from wakeword_core.config import ServingConfig
from wakeword_core.config.loading import PRESETS, load_config
from wakeword_core.serving.service import Service

ROOT = Path(__file__).parents[2]
CONTAINERS = ROOT / "containers"
COMPOSE = yaml.safe_load((CONTAINERS / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
IMAGES = {"wakeword-pipeline": "pipeline.Dockerfile", "wakeword-judge": "judge.Dockerfile"}
WAKEWORD = [sys.executable, "-m", "wakeword_pipeline.cli"]


LIMITED = """
import sys
from importlib.machinery import PathFinder

class OnlyThese(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        found = PathFinder.find_spec(name, path, target)
        installed = found is not None and "site-packages" in str(found.origin)
        return None if installed and name.partition(".")[0] not in {modules!r} else found

sys.meta_path[sys.meta_path.index(PathFinder)] = OnlyThese
from wakeword_pipeline.cli.main import main
main()
"""


def instruction(dockerfile: str, name: str) -> list[str]:
    """The last such instruction of a Dockerfile, in exec form."""
    text = (CONTAINERS / dockerfile).read_text().replace("\\\n", " ")
    return json.loads(re.findall(rf"^{name} (\[.*\])$", text, re.MULTILINE)[-1])


def health_check(dockerfile: str) -> list[str]:
    return instruction(dockerfile, "HEALTHCHECK .*CMD")


def command(service: str) -> list[str]:
    """What a service of ours runs, the program included."""
    own = SERVICES[service]
    dockerfile = IMAGES[own["image"]]
    program = own.get("entrypoint") or instruction(dockerfile, "ENTRYPOINT")
    return [*program, *(own.get("command") or instruction(dockerfile, "CMD"))]


@contextmanager
def running(
    arguments: list[str], environment: Mapping[str, str], log: Path, folder: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with its children, ended with SIGTERM."""
    given = {**os.environ, **environment}
    with log.open("w") as output:
        process = subprocess.Popen(
            arguments, cwd=folder, env=given, stdout=output, stderr=output, start_new_session=True
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)


def healthy(process: subprocess.Popen[bytes], check: list[str], log: Path, seconds: float = 120) -> None:
    """Wait until a health check passes."""
    deadline = time.monotonic() + seconds
    while subprocess.run([sys.executable, *check[1:]], capture_output=True, check=False, timeout=60).returncode:
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def moved(arguments: list[str], changes: Mapping[str, str]) -> list[str]:
    """With other ports and folders than a container has."""
    for old, new in changes.items():
        assert any(old in one for one in arguments), (old, arguments)
        arguments = [one.replace(old, new) for one in arguments]
    return arguments


@pytest.mark.parametrize("dockerfile", IMAGES.values())
def test_hadolint_finds_nothing(dockerfile: str) -> None:
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert hadolint, "pip install '.[dev]'"
    done = subprocess.run([hadolint, CONTAINERS / dockerfile], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("dockerfile", IMAGES.values())
def test_containers_do_not_run_as_root(dockerfile: str) -> None:
    users = re.findall(r"^USER (\S+)$", (CONTAINERS / dockerfile).read_text(), re.MULTILINE)
    assert users and users[-1] not in ("root", "0")


def test_services_are_reachable_from_this_machine_alone() -> None:
    ports = [port for one in SERVICES.values() for port in one.get("ports", ())]
    assert len(ports) == 5 and all(port.startswith("127.0.0.1:") for port in ports)
    assert not any(one.get("privileged") or one.get("network_mode") for one in SERVICES.values())


def test_alarms_and_pictures_are_of_metrics_that_there_are(model: Path) -> None:
    alerts = yaml.safe_load((CONTAINERS / "alerts.yaml").read_text())
    dashboard = json.loads((CONTAINERS / "grafana.json").read_text())
    asked = [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    asked += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    with Service(ServingConfig(), model) as service:
        metrics = service.metrics
        metrics.learnt_levels.labels("key", "0.5").set(-25)
        metrics.levels.labels("event").observe(-25)
        metrics.requests.labels("/v1/verify", "POST", 200).inc()
        metrics.latency.labels("/v1/verify").observe(0.1)
        metrics.steps.labels("decode").observe(0.1)
        families = list(text_string_to_metric_families(metrics.text().decode()))
    names = {sample.name for family in families for sample in family.samples} | {"up"}
    labels = {label for family in families for sample in family.samples for label in sample.labels} | {"le", "job"}
    selected = set()
    for expression in asked:
        promql_parser.parse(expression.replace("$__rate_interval", "5m"))
        selected |= set(re.findall(r"\b(?:wakeword|process)_\w+|\bup\b", expression))
        assert set(re.findall(r"[{,]\s*(\w+)=", expression)) <= labels, expression
    assert selected <= names and len(selected) >= 12
    boxes = [panel["gridPos"] for panel in dashboard["panels"]]
    assert all(box["x"] + box["w"] <= 24 for box in boxes)
    assert len({(box["x"], box["y"]) for box in boxes}) == len({panel["id"] for panel in dashboard["panels"]})


def test_every_secret_comes_from_the_environment_and_is_named_in_the_example() -> None:
    text = (CONTAINERS / "compose.yaml").read_text()
    named = {line.partition("=")[0] for line in (CONTAINERS / "example.env").read_text().splitlines()}
    assert set(re.findall(r"\$\{(\w+):\?", text)) == set(re.findall(r"\$\{(\w+)", text)) == named


def test_everything_that_is_copied_or_built_from_is_there() -> None:
    for service in SERVICES.values():
        if "build" in service:
            assert (CONTAINERS / service["build"]["context"]).resolve() == ROOT
            assert service["build"]["dockerfile"] == f"containers/{IMAGES[service['image']]}"
    ignored = set((ROOT / ".dockerignore").read_text().split())
    # what compose.yaml reads in its folder: secrets and recordings are in no image
    assert {"**/.env", "containers/project"} <= ignored
    example = (CONTAINERS / "example.env").read_text()
    assert re.findall(r"^WAKEWORD_\w+=\./(\w+)", example, re.MULTILINE) == ["project", "project"]
    assert not ignored & {"containers", "wakeword_core", "wakeword_pipeline", "pyproject.toml", "constraints.txt"}


@pytest.mark.parametrize("document", ["containers/pipeline.Dockerfile", "docs/deploy.md"])
def test_where_it_builds_there_is_what_presets_need(document: str) -> None:
    (extras,) = re.findall(r"'\.\[([a-z,]+)\]'", (ROOT / document).read_text(encoding="utf-8"))
    judged = any(load_config(None, preset=name).judge.enabled for name in PRESETS)
    assert {"speech", "train", *(["judge"] if judged else [])} <= set(extras.split(","))


def packages(extras: Collection[str]) -> set[str]:
    """Top-level modules that an installation of this project with these extras brings, and of all that they ask for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    wanted = [one for one in map(Requirement, asked) if one.marker is None or one.marker.evaluate()]
    todo = [(one.name, frozenset(one.extras)) for one in wanted]
    found: set[tuple[str, frozenset[str]]] = set()
    while todo:
        name, extras = todo.pop()
        if (name, extras) in found:
            continue
        found.add((name, extras))
        for text in metadata.requires(name) or ():
            one = Requirement(text)
            if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
                todo.append((one.name, frozenset(one.extras)))
    names = {canonicalize_name(name) for name, _ in found}
    owners = metadata.packages_distributions()
    return {module for module, several in owners.items() if {canonicalize_name(one) for one in several} & names}


@pytest.mark.server
def test_the_judges_image_has_every_package_that_it_imports(tmp_path: Path, model: Path) -> None:
    """Its command and health check, by an interpreter that finds nothing but what it installs."""
    port, log = free_port(), tmp_path / "log"
    (extras,) = re.findall(r"'\.\[([a-z,]+)\]'", (CONTAINERS / "judge.Dockerfile").read_text(encoding="utf-8"))
    alone = LIMITED.format(modules=sorted(packages(extras.split(","))))
    arguments = moved(command("judge")[1:], {"/model": str(model), "8765": port})
    with running([sys.executable, "-c", alone, *arguments], {"WAKEWORD_TOKEN": "t" * 32}, log) as judge:
        healthy(judge, moved(health_check("judge.Dockerfile"), {"8765": port}), log)


def test_what_runs_a_model_needs_nothing_that_trains_one(tmp_path: Path, model: Path) -> None:
    """`wakeword detect` with the plain installation; and `wakeword run`, which says what is missing."""
    alone = LIMITED.format(modules=sorted(packages(())))
    soundfile.write(tmp_path / "a.wav", np.zeros(32_000), 16_000)
    found, refused = (
        subprocess.run(
            [sys.executable, "-c", alone, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        for arguments in (["detect", str(model), "a.wav", "--json"], ["run", "--config", str(ROOT / "wakeword.yaml")])
    )
    assert found.returncode == 0 and json.loads(found.stdout.splitlines()[-1]) is not None, found.stderr
    assert refused.returncode == 1 and "making a model needs torch" in refused.stderr and "[train]" in refused.stderr


@pytest.mark.server
def test_the_web_server_of_the_compose_file_answers_wherever_it_is_started(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    own = {"WAKEWORD_HOME": str(tmp_path / "home"), "WAKEWORD_CONFIG": str(ROOT / "wakeword.yaml")}
    arguments = moved(command("web")[1:], {"3000": port})
    own["PYTHONPATH"], folder = str(ROOT), hostile_folder(tmp_path / "recordings")
    with running([*WAKEWORD, *arguments], own, log, folder) as web:
        healthy(web, moved(SERVICES["web"]["healthcheck"]["test"][1:], {"3000": port}), log)
    assert ran_in(folder) == set()
