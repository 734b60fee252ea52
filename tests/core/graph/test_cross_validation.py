"""Speakers take turns in the test; folds are told one by one and together."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wakeword_core.config import SPLITS, Config
from wakeword_core.errors import ConfigError, DataError
from wakeword_core.graph import cross_validation
from wakeword_core.graph.cross_validation import Failure, Fold, cross_validate, fold_configs, together
from wakeword_core.graph.stage import Judgement, Verdict
from wakeword_core.recordings.splits import split_of
from wakeword_core.store.artifacts import ArtifactStore


def config(**data: Any) -> Config:
    sources = [{"name": "mine", "path": "/mine", "role": "positive"}]
    return Config.model_validate({"phrase": "hey", "data": {"sources": sources, **data}})


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_every_speaker_is_in_the_test_once(folds: int) -> None:
    made = fold_configs(config(), folds)
    speakers = [f"speaker {number}" for number in range(500)]
    places = [[split_of(speaker, 7, one.data.splits) for one in made] for speaker in speakers]
    assert all(place.count("test") == 1 for place in places)
    sizes = [sum(place[number] == "test" for place in places) for number in range(folds)]
    assert min(sizes) > 500 / folds * 0.7
    first = [split_of(speaker, 7, config(splits={"test_fraction": 1 / folds}).data.splits) for speaker in speakers]
    assert [place[0] for place in places] == first


def test_folds_make_no_judge() -> None:
    wanted = config().changed({"judge.enabled": True, "export.openwakeword.enabled": True})
    assert wanted.judge_wanted_by and not any(fold.judge_wanted_by for fold in fold_configs(wanted, 2))


def test_what_cannot_be_cross_validated_is_said() -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        fold_configs(config(), 1)
    with pytest.raises(ConfigError, match="val_fraction is too large for 2 folds"):
        fold_configs(config(splits={"val_fraction": 0.45}), 2)
    with pytest.raises(ConfigError, match="champion, which has learnt from what folds are tested on"):
        fold_configs(config().changed({"training.start_from": "champion"}), 2)
    fixed = {"name": "mine", "path": "/mine", "role": "positive", "split": "train"}
    with pytest.raises(ConfigError, match="speakers who take turns"):
        fold_configs(config(sources=[fixed]), 3)


def figures(misses: int, words: int, alarms: int, hours: float, **more: float | None) -> dict[str, Any]:
    told = {"misses": misses, "words": words, "false_alarms": alarms, "background_hours": hours}
    return {**told, "frr": misses / words, "fah": alarms / hours, **more}


def test_folds_together_by_hand() -> None:
    failed = Fold(2, problem="it diverged")
    several = [Fold(0, "a", figures(1, 10, 0, 2.0, eer=0.1)), Fold(1, "b", figures(9, 30, 3, 1.0, eer=None)), failed]
    found = together(several)
    assert found is not None
    assert found.mean == pytest.approx({"frr": 0.2, "fah": 1.5})
    assert found.deviation == pytest.approx({"frr": 0.1414, "fah": 2.1213}, abs=1e-4)
    assert (found.frr, found.fah) == pytest.approx((0.25, 1.0))
    assert (found.words, found.misses, found.false_alarms, found.background_hours) == (40, 10, 3, 3.0)
    assert together(several[1:]) is None


def test_intervals_are_students_within_what_there_is() -> None:
    rates = (0.10, 0.12, 0.14, 0.16)
    several = [Fold(number, "", figures(1, 10, 30, 1.0) | {"frr": rate}) for number, rate in enumerate(rates)]
    found, wider = together(several, 0.95), together(several, 0.99999)
    assert found is not None and wider is not None
    reach = 3.1824 * 0.0258199 / 2  # of Student's t with 3 degrees of freedom
    assert found.interval["frr"] == pytest.approx((0.13 - reach, 0.13 + reach), abs=1e-5)
    assert found.interval["fah"] == (30, 30)
    assert wider.interval["frr"][0] == 0 < 1 > wider.interval["frr"][1]


Verdicts = dict[str, Verdict]


def built_folds(monkeypatch: pytest.MonkeyPatch, home: Path, verdicts: dict[int, Verdicts]) -> tuple[list[Fold], list]:
    """Two folds of stages that cost nothing, where some checks of some folds find something; and what was built."""
    built: list[tuple[float, str, str | None]] = []
    stages = {
        "mel_features": SimpleNamespace(splits=SPLITS),
        "metrics_report": SimpleNamespace(splits=(None,)),
        "int8_model": SimpleNamespace(splits=(None,)),
    }

    def project(one: Config, home: Path, progress: object) -> SimpleNamespace:
        number = round(one.data.splits.rotation * 2)

        def build(stage: str, split: str | None) -> tuple[SimpleNamespace, bool]:
            built.append((one.data.splits.rotation, stage, split))
            if stage in verdicts.get(number, {}) and verdicts[number][stage].description == "raises":
                raise DataError("there is no recording")
            key = f"{stage}{one.data.splits.rotation}"
            return SimpleNamespace(stage=stage, key=key, figures={"frr": 0.5}), True

        def judge(stage: str, split: str | None) -> list[Judgement]:
            verdict = verdicts.get(number, {}).get(stage, Verdict(True, "fine"))
            blocking = stage != "metrics_report"
            severity = "error" if blocking else "warning"
            return [Judgement(f"{stage} holds", blocking, verdict.passed, severity, verdict.description)]

        return SimpleNamespace(stages=stages, build=build, store=ArtifactStore(home), verdicts=judge)

    monkeypatch.setattr(cross_validation, "Project", project)
    return list(cross_validate(config(), home, 2)), built


def test_each_fold_is_built_and_checked_up_to_its_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    doubtful = {"metrics_report": Verdict(False, "too few hours")}
    found, built = built_folds(monkeypatch, tmp_path, {1: doubtful})
    assert [one.key for one in found] == ["metrics_report0.0", "metrics_report0.5"]
    once = [("mel_features", "train"), ("mel_features", "val"), ("mel_features", "test"), ("metrics_report", None)]
    assert built == [(rotation, *one) for rotation in (0.0, 0.5) for one in once]
    assert [(one.checks, one.problem) for one in found] == [(4, ""), (4, "")]
    assert found[0].failures == []
    (failure,) = found[1].failures
    assert failure == Failure("metrics_report", "metrics_report holds", "warning", "too few hours")


@pytest.mark.parametrize("why", ["raises", "a speaker is on two sides"])
def test_a_fold_that_fails_is_named_and_the_others_are_kept(
    why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found, built = built_folds(monkeypatch, tmp_path, {0: {"mel_features": Verdict(False, why)}})
    assert len(built) == 1 + 4  # nothing is built on what does not hold
    assert (found[0].key, found[0].figures, found[1].key) == ("", {}, "metrics_report0.5")
    assert ("there is no recording" if why == "raises" else why) in found[0].problem and found[1].problem == ""
    if why != "raises":
        assert "mel_features[train]" in found[0].problem and found[0].failures[0].severity == "error"
