"""Labelled captures of the test: what a model makes of each, and that mistakes come back unseen by nobody."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rivals import RATE, SETTINGS, tone_model
from test_trial import SETTINGS as RULE
from test_trial import heard

from wakeword_core.audio import write_audio
from wakeword_core.config import Config, ShardsConfig
from wakeword_core.evaluation.streams.captured import CapturedCase, captured_cases
from wakeword_core.files import hash_file
from wakeword_core.registry.trial import contrasts
from wakeword_core.runtime import WakewordModel
from wakeword_core.shards.building import build_shards
from wakeword_core.store.parts import Parts
from wakeword_core.workers.local import LocalWorkers

CAPTURES = {
    "robin-heard": ("captured", "positive", 1_000), "robin-hummed": ("captured", "positive", 3_000),
    "television": ("captured", "hard_negative", 1_000), "kettle": ("captured", "hard_negative", 400),
    "elsewhere": ("others", "hard_negative", 1_000), "background": ("captured", "background", 1_000),
}  # fmt: skip
"""Name -> source, role and frequency of the tone in it; the word is 1 kHz."""


def config_of(**source: bool) -> Config:
    sources = [{"name": "captured", "path": "/kept/labels.csv", "role": "hard_negative", **source}]
    return Config.model_validate({**SETTINGS, "data": {"sources": sources}})


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The shards, and the name of each recording."""
    folder, rows, names = tmp_path_factory.mktemp("captured"), [], {}
    random = np.random.default_rng(5)
    for name, (source, role, frequency) in CAPTURES.items():
        sound = random.normal(0, 0.004, 2 * RATE).astype(np.float32)
        tone = 0.1 * np.sin(2 * np.pi * frequency * np.arange(RATE // 2) / RATE)
        sound[RATE : RATE + RATE // 2] += tone.astype(np.float32)
        path = folder / "sounds" / f"{name}.wav"
        write_audio(path, sound, RATE)
        names[hash_file(path)] = name
        row = {"recording_id": hash_file(path), "path": path.name, "source": source, "role": role, "seconds": 2.0}
        row |= {"label": "robin" if role == "positive" else "_negative", "speaker": f"who/{name}"}
        rows.append(row | {"speech_start": 1.0, "speech_end": 1.5})
    (folder / "shards").mkdir()
    roots, parts = dict.fromkeys(("captured", "others"), folder / "sounds"), Parts(folder / "parts")
    settings = ShardsConfig(count=1)
    build_shards(pd.DataFrame(rows), roots, RATE, settings, LocalWorkers(1), 0, folder / "shards", parts)
    return folder / "shards", names


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> WakewordModel:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    config = config_of()
    tone_model(path, config.changed({"training.schedule.epochs": 100}), "key")
    return WakewordModel(path)


def test_each_labelled_capture_is_right_or_wrong_by_itself(shards, model: WakewordModel) -> None:
    folder, names = shards
    cases = {names[case.recording_id]: case for case in captured_cases(model, folder, config_of(captured=True))}
    assert set(cases) == {"robin-heard", "robin-hummed", "television", "kettle"}
    assert {name for name, case in cases.items() if case.wrong} == {"robin-hummed", "television"}
    assert cases["television"].label == cases["kettle"].label == "_negative" and cases["robin-heard"].label == "robin"
    assert cases["television"].score > model.threshold > cases["kettle"].score


def test_without_such_a_source_nothing_is_played(shards, model: WakewordModel) -> None:
    assert captured_cases(model, shards[0], config_of()) == []


def wrong(*numbers: int, of: int = 12) -> tuple[CapturedCase, ...]:
    return tuple(CapturedCase(f"c{number}", "_negative", 0.5, number in numbers) for number in range(of))


def test_captures_decide_by_the_rule_that_the_other_figures_have() -> None:
    champion, better, chance, worse = (
        replace(heard(), captured=wrong(*numbers)) for numbers in ((0, 1, 2), (), (3, 4, 5, 6), range(3, 11))
    )
    name = "captures of the test that are wrong"
    found = {id(run): contrasts(run, champion, 0.5, RULE)[-1] for run in (better, chance, worse)}
    assert {one.name for one in found.values()} == {name} and len(contrasts(heard(), heard(), 0.5, RULE)) == 3
    assert [found[id(run)].worse(RULE) for run in (better, chance, worse)] == [False, False, False]
    assert found[id(better)].champion_only == 3 and found[id(better)].candidate == 0
    assert contrasts(replace(heard(), captured=wrong(*range(5))), better, 0.5, RULE)[-1].worse(RULE)
