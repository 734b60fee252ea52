"""A home in which any JSON file is odd: every command ends in one sentence, or goes round the file and names it."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wakeword_core.config import SPLITS, Config
from wakeword_core.errors import WakewordError
from wakeword_core.graph.project import CHECKS_FILE, Project
from wakeword_core.graph.stage import Check, Input, Stage, StageRun, Verdict
from wakeword_core.graph.status import status
from wakeword_core.lineage.subjects import find_subject
from wakeword_core.recordings.forgotten import FILE, Forgotten
from wakeword_core.registry.history import Entry, bundles_by_model
from wakeword_core.store.artifacts import CARD
from wakeword_core.store.cleaning import garbage
from wakeword_core.store.graph import Graph

WHOLE: list[object] = [None, [], {}, "", "text", 7, -1.5, True, [None], [[]], [{}], {"a": 1}, ["a"], {"key": []}]
TEXTS = ["", "{", "[" * 100_000, "NaN", "\x00", '{"a": 1e999}', "\udcff"]
PARTS: list[object] = [None, [], 7, "../../../../evil", {"..": {}}]


LONG = 60


def make(run: StageRun) -> None:
    (run.out / "data.txt").write_text(f"{run.key}")
    run.facets = {split: split for split in SPLITS}
    run.figures = {"rows": 1}


CHECK = Check("fine", "As it should be.", lambda artifact, run: Verdict(True, "fine", {"rows": 1}))


def stage(name: str, inputs: tuple[Input, ...], settings: tuple[str, ...] = ()) -> Stage:
    return Stage(name, "1", make, inputs, settings, "group", (), "", checks=(CHECK,))


GRAPH = (
    stage("raw_manifest", (Input("raw_audio"),), ("seed",)),
    stage("onnx_model", (Input("raw_manifest", facet="train"),)),
    stage("model_bundle", (Input("onnx_model"),)),
)


@pytest.fixture
def open_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Project]:
    monkeypatch.setattr(Project, "fingerprint", lambda self: "0" * 64)
    return lambda: Project(Config(seed=3), tmp_path / "home", graph=GRAPH)


@pytest.fixture
def home(open_project: Callable[[], Project]) -> Path:
    project = open_project()
    for built in GRAPH:
        project.build(built.name)
        project.verdicts(built.name)
    with project.registry().changing() as registry:
        registry.adding(Entry(project.require("onnx_model").key, "promoted", "first", "gate", figures={"frr": 0.1}))
    Forgotten.add_to(project.home, ["a" * 64], ["anna"], "asked")
    return project.home


def commands(project: Project) -> dict[str, Callable[[], object]]:
    """What commands do with a home, and the build that follows."""
    store = project.store
    return {
        "status": lambda: status(project),
        "lineage": lambda: [find_subject(name.name, store) for name in GRAPH],
        "gc": lambda: garbage(store, list(Graph.of_store(store).nodes), []),
        "history": lambda: [project.registry().role(key) for key in project.registry().keys],
        "bundles": lambda: bundles_by_model(store),
        "forget": lambda: project.forgotten(),
        "checks": lambda: [project.recorded_verdicts(built.name) for built in GRAPH],
        "run": lambda: [(project.build(built.name), project.verdicts(built.name)) for built in GRAPH],
    }


def odd(text: str) -> Iterator[str]:
    """Texts to put in the place of a file's own."""
    yield from TEXTS
    yield from map(json.dumps, WHOLE)
    yield text[: len(text) // 2]
    tree = json.loads(text)
    record = tree[0] if isinstance(tree, list) else tree
    for name in record:
        changed = [{**record, name: part} for part in PARTS]
        changed += [{key: value for key, value in record.items() if key != name}]
        for one in changed:
            if "seal" in one:
                one["seal"] = None  # as if it had been written so
            yield json.dumps([one, *tree[1:]] if isinstance(tree, list) else one)


@pytest.mark.parametrize("name", ["raw_manifest", "model_bundle", CHECKS_FILE, "registry", FILE])
def test_no_odd_file_ends_in_anything_but_a_sentence(home: Path, open_project, name: str) -> None:
    places = {"registry": "registry/*.json", FILE: FILE, CHECKS_FILE: f"store/onnx_model/*/{CHECKS_FILE}"}
    (path,) = home.glob(places.get(name, f"store/{name}/*/{CARD}"))
    own = path.read_text()
    for text in odd(own):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, errors="surrogateescape")
        started = time.monotonic()
        for what, command in commands(open_project()).items():
            if what == "run" and len(text) > LONG:
                continue  # each build leaves what it replaces
            try:
                command()
            except WakewordError as error:
                assert "\n" not in str(error), (what, text[:200])
        assert time.monotonic() - started < 5, text[:200]
        path.write_text(own)


def test_a_home_with_a_folder_for_a_file_still_shows_its_status(home: Path, open_project, caplog) -> None:
    (card,) = home.glob(f"store/onnx_model/*/{CARD}")
    card.unlink()
    card.mkdir()
    states = {state.name: state.state for state in status(open_project())}
    assert states == {"raw_manifest": "fresh", "onnx_model": "missing", "model_bundle": "stale"}
    assert f"{card} cannot be read" in caplog.text
    project = open_project()
    assert [project.build(built.name)[1] for built in GRAPH] == [False, True, False]


def test_a_card_is_not_believed_when_it_is_of_another_artifact_or_was_changed(home: Path, open_project, caplog) -> None:
    (card,) = home.glob(f"store/onnx_model/*/{CARD}")
    tree = json.loads(card.read_text())
    card.write_text(json.dumps({**tree, "figures": {"rows": 2}}))
    assert open_project().find("onnx_model") is None and "it was changed after it was written" in caplog.text
    card.write_text(json.dumps(tree))
    moved = card.parent.with_name("0" * 20)
    card.parent.rename(moved)
    assert open_project().store.cards("onnx_model") == [] and "it is of onnx_model" in caplog.text
