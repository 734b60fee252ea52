"""Importing any module leaves no file anywhere, starts nothing, and loads what is heavy only where it is at home."""

import ast
import functools
import graphlib
import json
import os
import subprocess
import sys
from pathlib import Path

PACKAGES = ("wakeword_core", "wakeword_pipeline")
AT_HOME = {
    "torch": (
        "wakeword_core.features.",
        "wakeword_core.judge.",
        "wakeword_core.mining.",
        "wakeword_core.models",
        "wakeword_core.teaching.",
        "wakeword_core.training.",
    ),
    "onnx": ("wakeword_core.export.", "wakeword_core.judge."),
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


@functools.cache
def imports_of(root: Path) -> dict[str, set[str]]:
    """Module -> modules of ours that it imports, also inside of functions and for types alone."""
    paths = {}
    for path in (path for package in PACKAGES for path in (root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    imports: dict[str, set[str]] = {}
    for module, path in paths.items():
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                # a name may be a module of the package that it is imported from
                submodules = {f"{node.module}.{alias.name}" for alias in node.names}
                names |= submodules & paths.keys() or {node.module}
        imports[module] = (names & paths.keys()) - {module}
    return imports


def package_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def test_imports_go_one_way_between_modules_and_between_packages() -> None:
    modules = imports_of(Path(__file__).parents[2])
    packages: dict[str, set[str]] = {}
    for module, needed in modules.items():
        packages.setdefault(package_of(module), set()).update(map(package_of, needed))
    for package, needed in packages.items():
        needed.discard(package)
    assert packages["wakeword_core.training"] >= {"wakeword_core.features", "wakeword_core.models"}
    graphlib.TopologicalSorter(modules).prepare()  # raises CycleError
    graphlib.TopologicalSorter(packages).prepare()


def test_nothing_in_the_core_imports_the_top_floor_and_the_runtime_needs_little() -> None:
    modules = imports_of(Path(__file__).parents[2])
    for module, needed in modules.items():
        if module.startswith("wakeword_core.") and package_of(module) != "wakeword_core.graph":
            assert not any(package_of(other) == "wakeword_core.graph" for other in needed), module
        if module.startswith("wakeword_core"):
            assert not any(other.startswith("wakeword_pipeline") for other in needed), module
    of_runtime = [needed for module, needed in modules.items() if package_of(module) == "wakeword_core.runtime"]
    runtime = {package_of(other).removeprefix("wakeword_core.") for needed in of_runtime for other in needed}
    assert runtime <= {"runtime", "config", "features", "audio", "errors", "files", "python", "text"}
