"""The gate as Dagster and MLflow show it, and `wakeword models`, `promote` and `rollback`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

for folder in ("core/registry", "../benchmarks"):
    sys.path.insert(0, str((Path(__file__).parents[3] / folder).resolve()))

from rivals import RivalProject, Rivals, write_shards  # noqa: E402

from wakeword_core.config import Config  # noqa: E402
from wakeword_core.config.loading import save_config  # noqa: E402
from wakeword_core.errors import WakewordError  # noqa: E402
from wakeword_core.registry.history import Entry  # noqa: E402
from wakeword_core.stage_names import MODEL  # noqa: E402
from wakeword_pipeline.cli.main import app  # noqa: E402
from wakeword_pipeline.orchestration.assets import assets_of  # noqa: E402
from wakeword_pipeline.orchestration.resources import ProjectResource  # noqa: E402
from wakeword_pipeline.tracking.training_runs import KEY_TAG, STAGE_TAG, MlflowResource  # noqa: E402
from wakeword_pipeline.tracking.versions import mirror  # noqa: E402

COMPARISON = next(asset for asset in assets_of(Config()) if asset.key == dg.AssetKey("champion_comparison"))
UNTRAINED = 1


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("shards"))


class Gate:
    """Builds models and takes them through the gate as Dagster does, each with its version in MLflow."""

    def __init__(self, rivals: Rivals, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rivals, self.instance, self.monkeypatch = rivals, instance, monkeypatch
        self.store = MlflowResource(home=str(rivals.home))
        self.client = self.store.client()

    def build(self, *which: int) -> tuple[RivalProject, dg.ExecuteInProcessResult]:
        project = self.rivals.build(*which, compared=False)
        self.track(project)
        self.monkeypatch.setattr(ProjectResource, "open", lambda *_: project)
        resource = ProjectResource(config_path="", home=str(self.rivals.home))
        done = dg.materialize(
            [COMPARISON], instance=self.instance, resources={"project": resource, "mlflow": self.store}
        )
        return project, done

    def track(self, project: RivalProject) -> None:
        trained = project.require("trained_model")
        tags = {KEY_TAG: trained.key, STAGE_TAG: trained.stage}
        run = self.client.create_run(self.store.experiment_id(self.client), tags=tags).info.run_id
        self.client.set_terminated(run, "FINISHED")
        self.store.register(run, "robin")

    def aliases(self) -> dict[str, str]:
        found = self.client.get_registered_model("robin").aliases
        return {name: str(number) for name, number in found.items()}


@pytest.fixture
def rivals(tmp_path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch) -> Rivals:
    made = Rivals(tmp_path / "rivals", shards)
    # commands that look into Dagster leave these set
    monkeypatch.setenv("WAKEWORD_CONFIG", str(made.folder / "wakeword.yaml"))
    for name in ("DAGSTER_HOME", "WAKEWORD_DAGSTER"):
        monkeypatch.setenv(name, str(made.home / "dagster"))
    save_config(made.project().config, made.folder / "wakeword.yaml")
    return made


@pytest.fixture
def gate(rivals: Rivals, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Gate(rivals, instance, monkeypatch)


def command(rivals: Rivals, *arguments: str, expect: int = 0) -> str:
    options = ("--home", str(rivals.home), "--config", str(rivals.folder / "wakeword.yaml"))
    done = CliRunner(env={"COLUMNS": "110"}).invoke(app, [*arguments, *options])
    if expect:
        assert isinstance(done.exception, WakewordError), done.output
        return str(done.exception)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def evaluation(done: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    (found,) = done.get_asset_check_evaluations()
    return found


def test_a_worse_model_is_refused_for_all_to_see_and_the_champion_stays(gate: Gate) -> None:
    first, done = gate.build()
    assert evaluation(done).passed and gate.aliases() == {"champion": "1"}
    bad, done = gate.build(UNTRAINED)
    found = evaluation(done)
    assert done.success, "the bundle of a refused model may still be wanted"
    assert not found.passed and found.severity is dg.AssetCheckSeverity.ERROR and not found.blocking
    assert found.description.startswith("worse than the champion")
    (event,) = done.get_asset_materialization_events()
    metadata = event.step_materialization_data.materialization.metadata
    assert metadata["role"].value == "refused" and metadata["because"].value == found.description
    rows = [row.data for row in metadata["table"].value.records]
    assert [row["worse"] for row in rows] == [True, True, True] and rows[0]["candidate"] == 1
    assert "data:image/png;base64" in metadata["trade_off"].value
    assert gate.aliases() == {"champion": "1"}
    version = gate.client.get_model_version("robin", "2")
    assert version.tags["role"] == "refused" and version.tags["held_against"] == first.require(MODEL).key
    assert version.tags["decision"].startswith("refused on 20") and "worse than" in version.tags["decision"]
    assert bad.registry().champion.key == first.require(MODEL).key == gate.client.get_model_version(
        "robin", "1"
    ).tags["model_key"]  # fmt: skip

    third = gate.rivals.build(seed=2, compared=False)
    gate.track(third)
    weights = {"trained_model": third.require("trained_model").key}
    with third.registry().changing() as registry:
        registry.adding(Entry("c" * 20, "candidate", "waits", "gate", artifacts=weights))
    mirror(third)
    assert gate.aliases() == {"champion": "1", "candidate": "3"}
    with third.registry().changing() as registry:
        registry.adding(Entry("c" * 20, "promoted", "chosen", "person", artifacts=weights))
    mirror(third)
    assert gate.aliases() == {"champion": "3"} and gate.client.get_model_version("robin", "1").tags["role"] == "retired"


def test_models_promote_and_rollback_as_a_person_meets_them(rivals: Rivals) -> None:
    assert "was decided about yet" in command(rivals, "models")
    first, second = rivals.crown(), rivals.crown(seed=2)
    keys = [project.require(MODEL).key for project in (first, second)]
    with first.registry().changing() as registry:
        refused = Entry(
            "f" * 20, "refused", f"worse than the champion {keys[1]}: missed " + "more " * 30, "gate", keys[1]
        )
        registry.adding(refused)
    text = command(rivals, "models")
    assert f"robin: champion {keys[1][:10]}" in text and max(map(len, text.splitlines())) <= 110
    for told in ("retired", "refused", "champion", "no files", f"worse than the champion {keys[1][:10]}: missed"):
        assert told in " ".join(text.replace("│", " ").split())
    said = command(rivals, "rollback", "--reason", "it wakes the dog")
    assert f"{keys[0][:10]} is champion again, instead of {keys[1][:10]}" in said
    assert str(first.require("model_bundle").path) in said.replace("\n", "")
    tree = json.loads(command(rivals, "models", "--json"))
    assert [row["role"] for row in tree["models"]] == ["champion", "refused", "refused"]
    assert tree["models"][1]["because"].startswith("it wakes the dog") and len(tree["history"]) == 4
    assert tree["models"][2]["path"] is None and tree["models"][0]["figures"]["frr"] == 0.1
    assert "was rolled back" in command(rivals, "promote", keys[1][:10], expect=1)
    assert "say why with --reason" in command(rivals, "promote", keys[1][:10], "--force", expect=2)
    assert "are gone or damaged" in command(rivals, "promote", "ffff", "--force", "--reason", "why not", expect=1)
    assert "is champion, instead of" in command(rivals, "promote", keys[1][:10], "--force", "--reason", "no dog")
    command(rivals, "rollback")
    assert "the only champion that is left" in command(rivals, "rollback", expect=1)
    assert not (rivals.home / "mlflow.db").exists(), "nothing is mirrored where nothing was tracked"


def test_a_damaged_registry_stops_every_command_that_asks_it(rivals: Rivals) -> None:
    rivals.crown()
    rivals.project().registry().path.write_text("{")
    for arguments in (("models",), ("rollback",), ("promote", "a"), ("status",), ("gc",)):
        assert "restore it from a backup" in command(rivals, *arguments, expect=1)
