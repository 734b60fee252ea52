"""Importing any module leaves no file anywhere, starts nothing, and loads what is heavy only where it is at home."""

import ast
import graphlib
import json
import os
import subprocess
import sys
from pathlib import Path

PACKAGES = ("wakeword_core", "wakeword_pipeline")
AT_HOME = {
    "torch": (
        "wakeword_core.evaluation.operating",
        "wakeword_core.features.",
        "wakeword_core.mining.",
        "wakeword_core.models",
        "wakeword_core.training.",
    ),
    "onnx": ("wakeword_core.export.",),
    "dagster": ("wakeword_pipeline.",),
}
"""Where a module may need it to be imported at all."""
NOWHERE = {"matplotlib", "mlflow", "onnxruntime", "soundfile", "torchaudio"}
IMPORT_ALL = """
import importlib, json, pkgutil, signal, sys, threading
packages, blocked, known = sys.argv[2:], json.loads(sys.argv[1]), signal.getsignal(signal.SIGINT)

def import_all():
    needed = {}
    for root in packages:
        paths = importlib.import_module(root).__path__
        for name in [one.name for one in pkgutil.walk_packages(paths, f"{root}.", onerror=lambda name: None)]:
            try:
                importlib.import_module(name)
            except ImportError as error:
                needed[name] = (error.name or "").split(".")[0]
    return needed

sys.modules.update(dict.fromkeys(blocked))
needed = import_all()
for name in blocked:
    del sys.modules[name]
left = import_all()
started = [one.name for one in threading.enumerate() if one is not threading.main_thread()]
started += [] if signal.getsignal(signal.SIGINT) is known else ["a handler of SIGINT"]
modules = sum(name.split(".")[0] in packages for name in sys.modules)
print(json.dumps({"needed": needed, "left": left, "started": started, "modules": modules, "loaded": [*sys.modules]}))
"""


def test_importing_every_module_leaves_no_trace_and_loads_what_is_heavy_where_it_belongs(tmp_path: Path) -> None:
    places = {name: tmp_path / name for name in ("PWD", "HOME", "TMPDIR")}
    for place in places.values():
        place.mkdir()
    repository = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-B", "-c", IMPORT_ALL, json.dumps(list(AT_HOME)), *PACKAGES],
        cwd=places["PWD"],
        env={**os.environ, **{name: str(place) for name, place in places.items()}, "PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    files = sum(len(list((repository / package).rglob("*.py"))) for package in PACKAGES)
    assert found["left"] == {} and found["modules"] == files
    elsewhere = {name: heavy for name, heavy in found["needed"].items() if not name.startswith(AT_HOME[heavy])}
    assert elsewhere == {} and set(found["needed"].values()) == set(AT_HOME)
    assert not NOWHERE & set(found["loaded"])
    assert found["started"] == []
    assert [path for place in places.values() for path in place.iterdir()] == []


def test_packages_of_the_core_import_one_way() -> None:
    """Also inside of functions; modules beside the packages, as `project` and `stages`, tie them together."""
    root = Path(__file__).parents[2] / "wakeword_core"
    packages = {path.parent.name for path in root.glob("*/__init__.py")}
    needs: dict[str, set[str]] = {name: set() for name in packages}
    for path in root.glob("*/**/*.py"):
        package = path.relative_to(root).parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [one.name for one in node.names] if isinstance(node, ast.Import) else []
            needs[package] |= {one.split(".")[1] for one in modules if one.startswith("wakeword_core.")} & packages
        needs[package].discard(package)
    assert needs["training"] and needs["runtime"] <= {"config", "features"}
    graphlib.TopologicalSorter(needs).prepare()  # raises CycleError
