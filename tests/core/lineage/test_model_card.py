"""The card: complete, readable, and honest about licences."""

import json
from typing import ClassVar

import onnx
import pytest
from bundled_home import BundledProject

from wakeword_core.export.model_card import card_markdown
from wakeword_core.files import read_json
from wakeword_core.graph.stage import CheckRun
from wakeword_core.graph.stages.bundle import sealed
from wakeword_core.graph.status import status


@pytest.fixture(scope="module")
def card(home) -> dict:
    return read_json(home.project().require("model_bundle").file("model_card.json"))


def test_the_file_carries_the_same_card(home, card) -> None:
    metadata = {entry.key: entry.value for entry in onnx.load(home.bundle()).metadata_props}
    assert json.loads(metadata["wakeword_model_card"]) == card and {"wakeword", "wakeword_seal"} <= set(metadata)


def test_it_tells_data_metrics_settings_versions_and_every_key(home, card) -> None:
    assert (card["phrase"], card["model"]["threshold"], card["model"]["sample_rate"]) == ("robin", 0.6, 16_000)
    assert card["data"]["recordings"] == 300 and card["data"]["speakers"] == 15
    assert card["metrics"]["test"]["frr_interval"] == [0.02, 0.1] and card["metrics"]["target_fah"] == 0.5
    assert set(card["metrics"]["operating_points"]["strict"]) == {"target_fah", "validation", "test"}
    assert card["settings"]["trained_model"]["training"]["schedule"]["epochs"] == 2
    assert "onnx" in card["versions"] and card["model"]["calibration"]["parameters"] == {"temperature": 1.2}
    project = home.project()
    keys = {one["name"]: one["key"] for one in card["lineage"]}
    expected = {state.name: state.artifact.key for state in status(project) if state.name != "champion_comparison"}
    assert keys == {**expected, "raw_audio": project.fingerprint()[:20]}


def test_a_model_that_does_not_stream_is_handed_on_alone(own_home) -> None:
    def still(stage: str):
        def make(run) -> None:
            BundledProject.makers[stage](run)
            for file in run.out.glob("*.streaming.*"):
                file.unlink()

        return make

    class Still(BundledProject):
        makers: ClassVar = {**BundledProject.makers, **{name: still(name) for name in ("onnx_model", "int8_model")}}

    streaming = {"model.streaming.onnx", "model.streaming.int8.onnx"}
    before = own_home.project().require("model_bundle").files.keys()
    project = Still(own_home.config.changed({"training.schedule.epochs": 3}), own_home.path)
    project.build_all()
    assert project.require("model_bundle").files.keys() == before - streaming and streaming <= before


def test_teachers_and_the_model_that_training_went_on_from_are_named_and_not_mistaken_for_it(own_home) -> None:
    older = own_home.project().require("calibrated_model")
    changes = {"training.teacher.models": [older.key], "training.start_from": older.key[:12]}
    project = BundledProject(own_home.config.changed({**changes, "training.schedule.epochs": 3}), own_home.path)
    project.build_all()
    bundle, given = project.require("model_bundle"), {"stage": "calibrated_model", "key": older.key, "phrase": "robin"}
    card = read_json(bundle.file("model_card.json"))
    assert card["given"] == [
        {"part": part, "name": f"calibrated_model[{part}]", **given} for part in ("start", "teacher_1")
    ]
    assert card["settings"]["trained_model"]["training"]["schedule"]["epochs"] == 3
    assert {one["key"] for one in card["lineage"] if one["name"] == "calibrated_model"} == {
        older.key, project.require("calibrated_model").key,
    }  # fmt: skip
    metadata = {entry.key: entry.value for entry in onnx.load(bundle.file("model.onnx")).metadata_props}
    keys = json.loads(metadata["wakeword"])["keys"]
    assert keys["calibrated_model[teacher_1]"] == older.key and keys["trained_model"] != older.inputs["tuned_model"]
    assert keys["trained_model"] == project.require("trained_model").key
    text = card_markdown(card)
    assert f"it was taught by calibrated_model `{older.key}` of “robin”" in text
    assert f"its training went on from calibrated_model `{older.key}`" in text
    assert {state.state for state in status(project)} == {"fresh"}
    assert "Finished models" not in card_markdown(
        read_json(own_home.project().require("model_bundle").file("model_card.json"))
    )


def test_where_recordings_lie_on_this_machine_is_nobodys_business(home, card) -> None:
    assert str(home.folder) not in json.dumps(card)


def test_a_source_without_a_licence_is_called_out(card) -> None:
    learnt = card["data"]["learnt_from"]
    assert card["data"]["without_licence"] == ["street"]
    assert learnt["commercial_use"] == "unclear" and learnt["because"] == ["not stated"]
    assert learnt["credit"] == ["CC-BY-4.0"]
    assert "**No licence is stated for street.**" in card_markdown(card)


def test_the_markdown_says_what_the_card_says(card) -> None:
    text = card_markdown(card)
    assert text.startswith("# robin\n") and "None" not in text
    assert (
        "| missed | **5 %** of 200 words by synthetic voices" in text
        and "## Limits\n\n- 4 false alarms in 10 hours" in text
    )
    assert "| missed of real recordings | 12.5 % of 40 words (interval 5 % to 26 %) |\n| missed of synthetic" in text
    assert "| robin | train | 60 | 3 | 0 |\n| robin | val | 20 | 1 | 0 |\n| robin | test | 20 | 1 | 0 |" in text
    assert "No real recording of the wake word was in the test" in text
    assert "in validation 10 h (of them 2 h synthetic)" in text
    assert "| short phrases by strangers let in | **4 %** of 50 (interval 1 % to 13 %) |" in text
    assert "| 0.4 | 0.1 to 1 | 2 of 50 | 5 % |" in text and "in at most 1.20 s" in text
    assert all(one["key"] in text for one in card["lineage"])
    tables = [line for line in text.splitlines() if line.startswith("| street")]
    assert tables == ["| street | not stated | unclear | 100 | 0.03 | 5 | 60 | 20 | 20 |"]


def test_a_name_with_a_bar_breaks_no_table(card) -> None:
    source = {**card["data"]["sources"][0], "licence": "a|b\nc"}
    text = card_markdown({**card, "data": {**card["data"], "sources": [source]}})
    assert "| a\\|b c |" in text


def test_a_model_nobody_needs_to_ask_about_says_so(card) -> None:
    learnt = {"recordings": 1, "licences": ["CC0-1.0"], "commercial_use": "allowed", "because": [], "credit": []}
    text = card_markdown({**card, "data": {**card["data"], "without_licence": [], "learnt_from": learnt}})
    assert "No licence" not in text and "is **allowed**." in text


ATTACKS = (
    "![x](http://x/y.png)",
    "<img src=x onerror=y>",
    "a|b `c` *d* _e_ [f](http://g) <http://h>",
    "\x1b[2J\n# i\n\u202e",
)


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_markdown_shows_what_others_wrote_and_obeys_none_of_it(card, attack: str) -> None:
    from markdown_it import MarkdownIt

    def texts(written: str) -> list[str]:
        blocks = MarkdownIt().enable("table").parse(written)
        tokens = [token for block in blocks for token in (block, *(block.children or ()))]
        assert not {"image", "link_open", "html_inline", "html_block"} & {token.type for token in tokens}
        return [token.type for token in tokens if token.type not in ("text", "text_special")]

    def changed(text: str) -> str:
        sources = [{**source, "source": text, "licence": text} for source in card["data"]["sources"]]
        learnt = {**card["data"]["learnt_from"], "because": [text], "credit": [text]}
        data = {**card["data"], "sources": sources, "learnt_from": learnt, "without_licence": [text]}
        return card_markdown({**card, "phrase": text, "data": data, "limits": [text]})

    written = changed(attack)
    assert texts(written) == texts(changed("plain"))
    assert all(character.isprintable() or character == "\n" for character in written)


def test_models_for_openwakeword_go_with_the_others_and_have_their_thresholds_on_the_card(own_home) -> None:
    project = own_home.project(export={"openwakeword": {"enabled": True}})
    project.build_all()
    bundle, made = project.require("model_bundle"), project.require("openwakeword_model")
    assert set(made.files) == {"openwakeword/robin.onnx", "openwakeword/robin.tflite"} <= bundle.files.keys()
    assert all(bundle.file(name).read_bytes() == made.file(name).read_bytes() for name in made.files)
    text = bundle.file("model_card.md").read_text()
    assert "`openwakeword/robin.onnx`, `openwakeword/robin.tflite` hold a model of another kind" in text
    strict, balanced = ("| strict | 0.9 | 0.1 | 5 % of 200 | 2 % to 10 % |", "| balanced | 0.6 | 0.5 | 5 % of 200 |")
    assert text.index(strict) < text.index(balanced) and "3 of 20 are accepted at balanced" in text
    assert sealed(bundle, CheckRun(project.config, {}, None, project.store)).passed


def test_a_program_of_torch_goes_with_the_others_and_has_its_row(home, own_home) -> None:
    project = own_home.project(export={"torch": {"enabled": True}})
    project.build_all()
    bundle = project.require("model_bundle")
    assert set(bundle.files) == {*home.project().require("model_bundle").files, "model.pt2"}
    assert bundle.file("model.pt2").read_bytes() == b"a program"
    text = bundle.file("model_card.md").read_text(encoding="utf-8")
    assert "| model.pt2 | 0 | – | 12.0 | as model.onnx | as model.onnx | scores within 1e-07 of model.onnx |" in text


def test_every_format_has_its_row(card) -> None:
    text = card_markdown(card)
    assert [row["file"] for row in card["formats"]] == ["model.onnx", "model.int8.onnx", "model.fp16.onnx"]
    lines = [line for line in text.partition("### Formats")[2].splitlines() if line.startswith("| ")]
    assert lines[0] == "| file | kB | memory, kB | ms a second | missed | false alarms an hour | remarks |"
    size = card["model"]["bytes"] / 1_000
    assert lines[1] == f"| model.onnx | {size:.0f} | – | – | 5 % (2 % to 10 %) | 0.4 (0.1 to 1) |  |"
    assert lines[2].startswith("| model.int8.onnx |")


JUDGE = {
    "bytes": 1_771_000, "heard_share": 0.25, "words": 82, "frr": 0.244, "frr_interval": [0.138, 0.393], "fah": 0.5,
    "fah_interval": [0.1, 2.0], "confusables": 21, "confusables_accepted": 3,
    "at_rates": [{"target_fah": 0.5, "frr": 0.122, "frr_alone": 0.793}],
    "encoder": "speech_embedding", "encoder_licence": "Apache-2.0", "encoder_content": "0123456789abcdef0123",
    "taken_away": {"alarms_gone": 5, "alarms_new": 1, "words_lost": 2, "words_won": 45},
    "cascade": [{"name": "the gate", "words": 1_082, "misses": 9, "frr": 0.0083, "false_alarms": 77, "fah": 38.5}],
    "cascade_latency": [
        {"name": "both"}
        | {f"{part}_{at}_ms": 1.25 for part in ("latency", "computing", "event") for at in ("p50", "p95")}
    ],
    "cascade_goals": [
        {"name": "computing of both", "target": 200.0, "found": 5.04, "unit": "ms", "met": "yes"},
        {"name": "computing of the judge", "target": 150.0, "found": None, "unit": "ms", "met": "unknown"},
    ],
}  # fmt: skip


def test_a_judge_is_told_at_the_top_and_its_table_only_where_rates_are_shared(card) -> None:
    alone, together = card_markdown(card), card_markdown({**card, "judge": JUDGE})
    assert "| missed with its judge | **24.4 %** of 82 words" in together.partition("## Data")[0]
    assert "| 0.5 | 12.2 % | 79.3 % |" in together and "`judge.onnx` where it lies" in together
    assert "| the gate | 0.83 % (9 of 1,082) | 38.5 (77) |" in together and "takes 5 away, and 1 are new" in together
    assert "| both | 1 / 1 | 1.2 / 1.2 | 1 / 1 |" in together
    assert "| computing of both | under 200 ms | 5.0 | yes |" in together
    assert "| computing of the judge | under 150 ms | – | unknown |" in together
    assert "It holds Google's speech embedding (Apache-2.0)." in together
    other = card_markdown({**card, "judge": {**JUDGE, "encoder": "whisper", "encoder_licence": "MIT"}})
    assert "encoder whisper (licence: MIT) in the folder `encoder`" in other and "`0123456789abcdef`" in other
    assert "Google" not in other
    assert "its judge" not in alone and "judge.onnx" not in alone
    assert "read off the test" not in card_markdown({**card, "judge": {**JUDGE, "at_rates": []}})


def test_a_second_judge_is_told_with_its_encoder_and_policy(card) -> None:
    second = {"second_policy": "each", "second_heard_share": 0.012, "second_bytes": 9_000, "second_encoder": "whisper"}
    second["second_encoder_licence"] = "MIT"
    named = [{"part": "second_judge", "name": "n", "stage": "judge_model", "key": "0123abcd", "phrase": None}]
    text = card_markdown({**card, "judge": {**JUDGE, **second}, "given": named})
    assert "`second_judge/judge.onnx` (9 kB, on the encoder whisper beside it, licence: MIT)" in text
    assert "1.2 % of the background. Each of them has to reach the threshold" in text
    assert "its second judge is judge_model `0123abcd`" in text
    mean = card_markdown({**card, "judge": {**JUDGE, **second, "second_encoder": "", "second_policy": "mean"}})
    assert "(9 kB), is asked" in mean and "The mean of all three" in mean
    assert "second judge" not in card_markdown({**card, "judge": JUDGE})


def test_each_of_several_wake_words_has_a_row(card) -> None:
    said = {"name": "o|k", "threshold": 0.912, "words": 1_200, "misses": 60, "frr": 0.05, "frr_interval": [0.02, 0.12]}
    said |= {"false_alarms": 3, "fah": 0.3, "fah_interval": [0.06, 0.9]}
    never = {**said, "name": "never", "words": 0, "misses": 0, "frr": None}
    text = card_markdown({**card, "metrics": {**card["metrics"], "by_word": [said, never]}})
    assert "\n| o\\|k | 0.912 | 5 % of 1,200 | 2 % to 12 % | 0.3 | 0.06 to 0.9 |\n| never | 0.912 | – of 0 |" in text
    judged = card_markdown({**card, "judge": {**JUDGE, "by_word": [said, never]}})
    rows = text[text.index("| wake word | its") : text.index("| never")]
    assert rows in judged.partition("### With its judge")[2] and rows not in judged.partition("### With its judge")[0]
    assert "its threshold" not in card_markdown({**card, "judge": JUDGE})


def test_a_file_for_microcontrollers_is_told_with_the_model_on_the_same_sound(card) -> None:
    rates = {"frr": 0.045, "frr_interval": [0.024, 0.083], "fah": 0.3, "fah_interval": [0.062, 0.877]}
    tflite = {
        "model": "robin.tflite", "bytes": 53_056, "arena_bytes": 21_152, "cutoff": 0.7922,
        "test": {"esphome": {"runtime": "ESPHome", **rates}},
    }  # fmt: skip
    text = card_markdown({**card, "tflite": tflite})
    assert "`robin.tflite` (53 kB, 21 kB of memory)" in text and "at its cutoff of 0.7922" in text
    assert "| onnxruntime (`model.onnx`) | 5 % | 2 % to 10 % | 0.4 | 0.1 to 1 |" in text
    assert "| ESPHome | 4.5 % | 2.4 % to 8.3 % | 0.3 | 0.062 to 0.88 |" in text
    assert "tflite" not in card and "microcontroller" not in card_markdown(card)


def test_operating_points_stand_from_the_strictest_on(card) -> None:
    points = [
        line.split()[1] for line in card_markdown(card).splitlines() if line.startswith(("| strict", "| balanced"))
    ]
    assert points == ["strict", "balanced"]
