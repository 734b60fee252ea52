"""`wakeword serve`: which model and which settings it takes."""

import sys
from types import SimpleNamespace

import pytest

from wakeword_core.config.loading import load_config
from wakeword_core.errors import ArtifactError, ConfigError, MissingDependencyError
from wakeword_core.files import write_json
from wakeword_core.registry.history import Entry, Registry
from wakeword_pipeline.cli.commands import serve
from wakeword_pipeline.cli.main import main
from wakeword_pipeline.orchestration.home import ProjectOptions


@pytest.fixture
def served(monkeypatch, tmp_path):
    """What a service was made of; nothing is served."""
    made = []

    class Service:
        def __init__(self, settings, sentry, judge, others):
            made.append((settings, sentry, judge, others))

    fake = SimpleNamespace(Service=Service, serve=lambda service, announce, *others: announce("it on http://a:1"))
    for name in ("server", "service"):
        monkeypatch.setitem(sys.modules, f"wakeword_core.serving.{name}", fake)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WAKEWORD_CONFIG", raising=False)
    return made


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["wakeword", "serve", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0


def test_a_model_alone_is_enough(served, monkeypatch, tmp_path, capsys) -> None:
    assert run(monkeypatch, "model.onnx", "--host", "::1", "--port", "99") == 0
    settings, sentry, judge, others = served[0]
    assert (settings.host, settings.port, str(sentry), judge, others) == ("::1", 99, "model.onnx", None, [])
    assert "serving it on http://a:1; stop with Ctrl-C" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_configuration_says_how(served, monkeypatch, tmp_path) -> None:
    (tmp_path / "wakeword.yaml").write_text("serving: {max_seconds: 7, port: 5, cascade: {judge: big.onnx}}\n")
    assert run(monkeypatch, "model.onnx", "--port", "6") == 0
    assert (served[0][0].max_seconds, served[0][0].port, served[0][2]) == (7, 6, "big.onnx")
    assert run(monkeypatch, "model.onnx", "--judge", "other.onnx", "--set", "serving.queue_length=3") == 0
    assert str(served[1][2]) == "other.onnx" and served[1][0].queue_length == 3
    assert run(monkeypatch, "model.onnx", "--config", "none.yaml") == 2
    assert run(monkeypatch, "model.onnx", "--set", "serving.queue_length=0") == 2


def test_a_folder_without_a_name_keeps_nothing(served, monkeypatch, capsys) -> None:
    assert run(monkeypatch, "model.onnx", "--keep", "kept") == 0
    assert str(served[0][0].keep.folder).endswith("kept")
    assert run(monkeypatch, "model.onnx", "--keep", "") == 2 and len(served) == 1
    assert "it is empty; name a file or a folder" in capsys.readouterr().err


def test_several_models_are_for_wyoming(served, monkeypatch, tmp_path, capsys) -> None:
    assert run(monkeypatch, "a.onnx", "b.onnx") == 2
    assert "2 models were given, but HTTP serves one: give one, or --wyoming for all" in capsys.readouterr().err
    address = "tcp://127.0.0.1:10400"
    assert run(monkeypatch, "a.onnx", "b.onnx", "--wyoming", address, "--sensitivity", "strict") == 0
    settings, *models = served[0]
    assert [str(models[0]), *map(str, models[2])] == ["a.onnx", "b.onnx"] and settings.http
    assert (settings.wyoming, settings.sensitivity) == (address, "strict")
    assert run(monkeypatch, "a.onnx", "--wyoming", address, "--no-http", "--set", "serving.device=cuda") == 0
    assert not served[1][0].http and served[1][0].device == "cuda"
    assert run(monkeypatch, "a.onnx", "--no-http") == 2
    assert "nothing is served without HTTP" in capsys.readouterr().err
    assert run(monkeypatch, "a.onnx", "--wyoming", "0.0.0.0") == 2
    assert "like tcp://127.0.0.1:10400, not '0.0.0.0'" in capsys.readouterr().err


def test_a_model_is_served_where_the_last_configuration_of_the_home_is_gone(served, monkeypatch, tmp_path) -> None:
    write_json(tmp_path / ".wakeword" / "last.json", {"config": str(tmp_path / "gone.yaml")})
    assert run(monkeypatch, "model.onnx") == 0
    assert run(monkeypatch) == 2


def bundle(home, key, created, phrase="hey robin"):
    card = {
        "stage": "model_bundle", "key": key, "content": "c", "config": {"phrase": phrase}, "code_version": "1",
        "inputs": {"onnx_model": {"stage": "onnx_model", "key": f"model of {key}", "content": "c"}},
        "files": {}, "facets": {}, "figures": {}, "seconds": 1.0, "created": created,
    }  # fmt: skip
    write_json(home / "store" / "model_bundle" / key / "artifact.json", card)


def test_without_a_model_it_is_the_champion_and_else_what_was_built_last(served, monkeypatch, tmp_path, capsys) -> None:
    assert run(monkeypatch, "--home", "home") == 1
    assert "there is no model bundle of 'hey robin' in" in capsys.readouterr().err
    bundle(tmp_path / "home", "other", "2026-02-01", "hello house")
    assert run(monkeypatch, "--home", "home") == 1
    assert "bundle of 'hey robin' in" in (said := capsys.readouterr().err) and "only of 'hello house'" in said
    for key, created in (("a", "2026-01-02"), ("b", "2026-01-03"), ("c", "2026-01-01")):
        bundle(tmp_path / "home", key, created)
    assert run(monkeypatch, "--home", "home") == 0
    bundles = tmp_path / "home" / "store" / "model_bundle"
    assert served[-1][1] == bundles / "b" and "no champion" in capsys.readouterr().err
    with Registry.of(tmp_path / "home", load_config(None)).changing() as registry:
        registry.adding(Entry("model of c", "promoted", "it was best", "gate"))
    assert run(monkeypatch, "--home", "home") == 0
    assert served[-1][1] == bundles / "c" and "no champion" not in capsys.readouterr().err


def test_what_is_missing_is_said(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "wakeword_core.serving.server", None)
    with pytest.raises(MissingDependencyError, match=r"-m pip install -e '/.*\[serve\]'"):
        serve.serve_model([tmp_path], None, ProjectOptions())
    with pytest.raises(ArtifactError, match="name a model, or build one"):
        serve.serve_model((), None, ProjectOptions(None, tmp_path))
    with pytest.raises(ConfigError, match="no configuration file"):
        serve.serve_model([tmp_path], None, ProjectOptions(tmp_path / "none.yaml"))
