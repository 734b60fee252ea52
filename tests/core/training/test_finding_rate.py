"""`learning_rate: auto` is what the range test suggests, looked for once."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
from sweeps_to_train import CMVN, CONTEXT, LONG, config_for

from wakeword_core.errors import ArtifactError
from wakeword_core.files import read_json
from wakeword_core.training import lr_finder
from wakeword_core.training.finding_rate import RATE_FILE, find_rate_once, with_found_rate
from wakeword_core.training.lr_finder import Rates, find_rate
from wakeword_core.training.starting import starting_config

AUTO = {"schedule": {"learning_rate": "auto"}}


@pytest.fixture(autouse=True)
def _few_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    def few(train, cmvn, config, **more):
        return find_rate(train, cmvn, config, Rates(1e-4, 1e-1, 30), **more)

    monkeypatch.setattr(lr_finder, "find_rate", few)


def test_the_rate_is_the_one_that_is_suggested_and_is_looked_for_once(tmp_path: Path, monkeypatch) -> None:
    config = config_for(context=CONTEXT, **AUTO)
    found = find_rate_once(LONG, CMVN, config, tmp_path)
    suggested = find_rate(LONG, CMVN, config_for(context=CONTEXT), Rates(1e-4, 1e-1, 30)).suggestion
    assert found.training.schedule.peak == float(f"{suggested:.2g}")
    assert found == config.changed({"training.schedule.learning_rate": found.training.schedule.peak})
    assert read_json(tmp_path / RATE_FILE)["learning_rate"] == found.training.schedule.peak
    monkeypatch.setattr(lr_finder, "find_rate", None)  # a killed training goes on with what was found
    assert find_rate_once(LONG, CMVN, config, tmp_path) == found == with_found_rate(config, tmp_path)


def test_a_rate_that_is_set_is_left_as_it_is(tmp_path: Path) -> None:
    config = config_for(context=CONTEXT)
    assert find_rate_once(LONG, CMVN, config, tmp_path) is config is with_found_rate(config, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_peak_of_a_training_that_goes_on_is_the_suggestion(tmp_path: Path) -> None:
    further = {"training.start_from": "0123456789", "training.start_rate": 0.25}
    config = config_for(context=CONTEXT, **AUTO).changed(further)
    peak = starting_config(find_rate_once(LONG, CMVN, config, tmp_path)).training.schedule.peak
    plain = config_for(context=CONTEXT)
    assert peak == pytest.approx(find_rate(LONG, CMVN, plain, Rates(1e-4, 1e-1, 30)).suggestion, rel=0.05)


def test_no_setting_is_above_its_bound() -> None:
    result = find_rate(LONG, CMVN, config_for(context=CONTEXT), Rates(1e-4, 1e-1, 30))
    assert replace(result, lowest=1.0).setting(0.1) == 1.0 and replace(result, lowest=0.1).setting(1.0) == 0.02


@pytest.mark.parametrize(("lowest", "warned"), [(0, True), (15, False)])
def test_it_is_said_when_the_best_rate_may_lie_beyond(lowest: int, warned: bool, tmp_path, caplog, monkeypatch) -> None:
    result = find_rate(LONG, CMVN, config_for(context=CONTEXT), Rates(1e-4, 1e-1, 30))
    monkeypatch.setattr(lr_finder, "find_rate", lambda *_, **__: replace(result, lowest=result.rates[lowest]))
    with caplog.at_level(logging.WARNING, logger="wakeword_core"):
        find_rate_once(LONG, CMVN, config_for(context=CONTEXT, **AUTO), tmp_path)
    assert (
        "training.schedule.learning_rate that was found may not be the best: the loss was lowest at" in caplog.text
    ) is warned


@pytest.mark.parametrize("text", ["", "[]", '{"learning_rate": "fast"}', "{}"])
def test_a_file_that_says_no_rate_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / RATE_FILE).write_text(text)
    with pytest.raises(ArtifactError, match="does not say which learning rate was found"):
        with_found_rate(config_for(context=CONTEXT, **AUTO), tmp_path)
