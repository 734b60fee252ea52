import re

import pytest
from pydantic import BaseModel, ValidationError

from wakeword_core.config import NEGATIVE_LABEL, AugmentConfig, Config, FrontendConfig, SourceConfig
from wakeword_core.config.base import deciding

OFF = {"noise_probability": 0.0, "band_warp": 0.0, "colour_db": 0.0, "isolate_probability": 0.0}


def groups(model):
    yield model
    for field in model.model_fields.values():
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from groups(kind)


def source(**changes):
    return {"name": "a", "path": "/a", "role": "positive", **changes}


def test_every_setting_is_described():
    missing = [
        f"{group.__name__}.{name}"
        for group in groups(Config)
        for name, field in group.model_fields.items()
        if not field.description and name != "arch" and not isinstance(field.default, BaseModel)
    ]
    assert missing == []


def test_every_number_is_bounded_on_one_side_at_least():
    unbounded = [
        f"{group.__name__}.{name}"
        for group in groups(Config)
        for name, field in group.model_fields.items()
        if field.annotation in (int, float) and not field.metadata and name != "tau"
    ]
    assert unbounded == []


def test_window_is_one_and_a_half_seconds_without_padding():
    frontend = FrontendConfig()
    assert 1 + (frontend.window_samples - frontend.n_fft) // frontend.hop_length == frontend.window_frames == 151


def test_labels_put_negatives_first_and_then_every_wake_word():
    sources = [source(), source(name="b", label="computer"), source(name="c", role="noise", label="ignored")]
    config = Config.model_validate({"phrase": "alexa", "data": {"sources": sources}})
    assert config.labels == (NEGATIVE_LABEL, "alexa", "computer")
    assert Config(phrase="alexa").labels == (NEGATIVE_LABEL, "alexa")


def test_synthesis_adds_the_phrase_to_labels_of_recordings():
    tree = {"phrase": "alexa", "data": {"sources": [source(label="computer")]}}
    assert Config.model_validate(tree).labels == (NEGATIVE_LABEL, "computer")
    tree["synthesis"] = {"enabled": True}
    assert Config.model_validate(tree).labels == (NEGATIVE_LABEL, "alexa", "computer")


def test_further_phrases_are_labels_of_their_own_in_whatever_spelling_recordings_have_them():
    tree = {"phrase": "alexa", "synthesis": {"enabled": True, "phrases": ["hey  ruby", "stop"]}}
    assert Config.model_validate(tree).labels == (NEGATIVE_LABEL, "alexa", "hey ruby", "stop")
    recorded = tree | {"data": {"sources": [source(label="Hey Ruby!")]}}
    assert Config.model_validate(recorded).labels == (NEGATIVE_LABEL, "Hey Ruby!", "alexa", "stop")
    off = tree | {"synthesis": {"enabled": False, "phrases": ["stop"]}}
    assert Config.model_validate(off).labels == (NEGATIVE_LABEL, "alexa")
    with pytest.raises(ValueError, match=r"synthesis\.phrases names 'alexa', which is the phrase itself"):
        Config.model_validate({"phrase": "alexa", "synthesis": {"phrases": ["Alexa!"]}})


@pytest.mark.parametrize(("phrase", "slug"), [("Hey  Robin!", "hey_robin"), ("ça va", "a_va"), ("你好", "wakeword")])
def test_slug_is_a_plain_file_name(phrase, slug):
    assert Config(phrase=phrase).slug == slug


def test_no_two_phrases_have_one_name():
    phrases = ("hey robin", "hey_robin", "hey-robin", "hey, robin", "café", "caf", "cafè", "你好", "小爱", "wakeword")
    names = [Config(phrase=phrase).unique_name for phrase in phrases]
    assert len(set(names)) == len(phrases) and all(re.fullmatch(r"[a-z0-9_]+(-[0-9a-f]{8})?", name) for name in names)
    assert Config(phrase="Hey  Robin").unique_name == "hey_robin"


def test_phrase_is_tidied():
    assert Config(phrase="  hey \t robin ").phrase == "hey robin"


@pytest.mark.parametrize("phrase", ["", "  ", "...", "_negative", "a\x00b", "x" * 61])
def test_unspeakable_phrase_is_refused(phrase):
    with pytest.raises(ValidationError):
        Config(phrase=phrase)


@pytest.mark.parametrize("rule", ["unknown", "single", "parent", "block:24", r"regex:(?P<speaker>\d+)-"])
def test_speaker_rules(rule):
    assert SourceConfig.model_validate(source(speaker=rule)).speaker == rule


@pytest.mark.parametrize("rule", ["", "block:0", "block:", "regex:(", r"regex:(\d+)", "Parent"])
def test_wrong_speaker_rule_is_refused(rule):
    with pytest.raises(ValidationError):
        SourceConfig.model_validate(source(speaker=rule))


@pytest.mark.parametrize("tau", [1, 1.5, 2, 3, 6, 8])
def test_published_widths(tau):
    assert Config.model_validate({"training": {"model": {"arch": "bc_resnet", "tau": tau}}}).training.model.tau == tau


def test_infinite_numbers_are_refused():
    with pytest.raises(ValidationError):
        Config.model_validate({"data": {"health": {"max_seconds": float("inf")}}})


def test_subset_holds_only_the_named_fields():
    subset = Config().subset("phrase", "features.frontend.n_mels")
    assert subset == {"phrase": "hey robin", "features.frontend.n_mels": 64}


def test_subset_of_what_follows_from_other_settings():
    assert Config(phrase="alexa").subset("labels") == {"labels": [NEGATIVE_LABEL, "alexa"]}


def test_of_the_path_of_a_voice_its_name_decides():
    at_home, elsewhere, other = (
        Config.model_validate({"synthesis": {"piper_voices": [path]}}).subset("synthesis")
        for path in ("/home/me/joe.onnx", "/voices/joe.onnx", "/voices/amy.onnx")
    )
    assert at_home == elsewhere != other and at_home["synthesis"]["piper_voices"] == ["joe.onnx"]


def test_subset_leaves_out_what_decides_nothing():
    plain = Config.model_validate({"data": {"sources": [source()]}})
    for change in ({"path": "/b"}, {"include": ["*.wav"]}, {"exclude": ["b*"]}):
        moved = Config.model_validate({"data": {"sources": [source(**change)], "missing_source": "fail"}})
        assert moved.subset("data") == plain.subset("data")
    for change in ({"labels": "parent"}, {"role": "negative"}, {"licence": "CC0-1.0"}):
        other = Config.model_validate({"data": {"sources": [source(**change)]}})
        assert other.subset("data") != plain.subset("data")
    manual = Config.model_validate({"registry": {"promote": "manual"}})
    assert manual.subset("registry") == plain.subset("registry")


@pytest.mark.parametrize(
    ("kind", "deciding"), [("log_mel", set()), ("mel_db", {"top_db"}), ("mfcc", {"n_mfcc"}), ("micro", set())]
)
def test_settings_of_a_front_end_decide_where_it_is_that_kind(kind, deciding):
    tree = {"features": {"frontend": {"kind": kind}, "context": {"frames": 0}}, "training": {"augment": OFF}}
    frontend = Config.model_validate(tree).subset("features.frontend")["features.frontend"]
    assert {"top_db", "n_mfcc"} & frontend.keys() == deciding


def test_the_front_end_of_microcontrollers_is_made_as_on_the_device():
    features = Config.model_validate({"features": {"frontend": {"kind": "micro"}}}).features
    frontend = features.frontend
    assert (frontend.n_fft, frontend.win_length, frontend.hop_length, frontend.bands) == (480, 480, 160, 40)
    assert features.heard_samples("val") == 2 * 16_000 + frontend.window_samples
    assert features.heard_samples("train") == 2 * 16_000 + features.row_samples("train")
    assert FrontendConfig.model_validate(frontend.model_dump()) == frontend
    plain = Config().features
    assert plain.heard_samples("train") == plain.row_samples("train")


@pytest.mark.parametrize("kind", ["mel_db", "mfcc", "micro"])
def test_what_is_meant_for_log_mels_is_off_for_other_features_unless_it_is_asked_for(kind):
    frontend, context = {"kind": kind}, {"frames": 0}
    tree = {
        "features": {"frontend": frontend, "context": context},
        "training": {"augment": {"shift_frames": 3}},
    }
    augment = Config.model_validate(tree).training.augment
    assert augment.unfit_for("mfcc") == () and augment.shift_frames == 3
    assert not Config.model_validate(tree | {"training": {}}).training.augment.unfit_for("mfcc")
    assert Config().training.augment.unfit_for("mfcc") == ("noise_probability", "colour_db", "band_warp")
    assert not Config().training.augment.unfit_for("log_mel")
    asked = {"band_warp": 0.1, "isolate_probability": 0.2}
    with pytest.raises(ValueError, match=rf"style_probability of training.augment .* {kind}: set it to 0"):
        Config.model_validate(tree | {"training": {"augment": {"style_probability": 0.5}}})
    if kind == "micro":
        assert Config.model_validate(tree | {"training": {"augment": asked}}).training.augment.band_warp == 0.1
        unfit, asked = "noise_probability and gain_db", asked | {"noise_probability": 0.1, "gain_db": (-3, 3)}
    else:
        unfit = "band_warp and isolate_probability"
    with pytest.raises(ValueError, match=f"{unfit} of training.augment cannot change .* set them to 0"):
        Config.model_validate(tree | {"training": {"augment": asked}})


@pytest.mark.parametrize("wanted", ["judge", "export.openwakeword"])
def test_the_sample_rate_has_to_be_that_of_an_embedding_that_is_needed(wanted):
    message = rf"{wanted}\.enabled needs data\.audio\.sample_rate 16000, .* and not 22050: .* set {wanted}\.enabled"
    with pytest.raises(ValueError, match=message):
        Config().changed({f"{wanted}.enabled": True, "data.audio.sample_rate": 22_050})


def test_nothing_depends_on_what_is_computed_with():
    with pytest.raises(ValueError, match="changes no result"):
        Config().subset("compute.device")


def test_a_changed_copy_is_checked_as_any_configuration():
    changed = Config().changed({"training.schedule.epochs": 3, "seed": 2})
    assert (changed.training.schedule.epochs, changed.seed) == (3, 2)
    assert changed.changed({"training.schedule.epochs": 20, "seed": 1}) == Config()
    with pytest.raises(ValidationError, match="epochs"):
        Config().changed({"training.schedule.epochs": 0})
    with pytest.raises(ValidationError, match="epoch"):
        Config().changed({"training.schedule.epoch": 1})


def test_a_loaded_configuration_never_changes():
    with pytest.raises(ValidationError):
        Config().phrase = "other"


def test_operating_points_join_the_standard_ones_and_one_of_them_counts():
    evaluation = Config.model_validate(
        {"evaluation": {"operating_points": {"points": {"strict": 0.05, "night": 0.01}}}}
    ).evaluation
    assert evaluation.operating_points.points == {"strict": 0.05, "balanced": 0.5, "lenient": 2.0, "night": 0.01}
    assert evaluation.allowed_fah == 0.5
    night = {"operating_points": {"points": {"night": 0.01}, "default": "night"}}
    assert Config.model_validate({"evaluation": night}).evaluation.allowed_fah == 0.01
    for wrong in ({"default": "night"}, {"points": {"strict": 0}}, {"points": {"a b": 1}}):
        with pytest.raises(ValidationError):
            Config.model_validate({"evaluation": {"operating_points": {"points": wrong}}})


@pytest.mark.parametrize("name", ["gain_db", "noise_snr_db"])
def test_ranges_of_training_augmentation_rise(name):
    for limits in ((-3.0, 2.0), (1.0, 1.0)):
        config = Config.model_validate({"training": {"augment": {name: limits}}})
        assert getattr(config.training.augment, name) == limits
    with pytest.raises(ValidationError, match=name):
        Config.model_validate({"training": {"augment": {name: (2.0, -3.0)}}})


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("device_low_cut_hz", (300, 80)),
        ("device_low_cut_hz", (20, 300)),
        ("device_high_cut_hz", (7_000, 4_000)),
        ("device_high_cut_hz", (1_000, 4_000)),
        ("device_overload_db", (15, 3)),
        ("device_overload_db", (0, 3)),
        ("device_colour_db", -1),
        ("device_probability", 1.1),
    ],
)
def test_ranges_of_devices_rise_and_are_bounded(name, wrong):
    with pytest.raises(ValidationError, match=name):
        AugmentConfig.model_validate({name: wrong})


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("tempo", (1.2, 0.8)), ("tempo", (0.4, 1)), ("pitch_semitones", (1, -1)), ("pitch_semitones", (-13, 1))],
)
def test_tempo_and_pitch_have_bounds_and_decide_nothing_until_they_change(name, wrong):
    with pytest.raises(ValidationError, match=name):
        AugmentConfig.model_validate({name: wrong})
    none, kind = deciding(AugmentConfig()), name.removesuffix("_semitones")
    assert deciding(AugmentConfig.model_validate({name: (1, 1)})) == none
    some = deciding(AugmentConfig.model_validate({f"{kind}_probability": 0.1}))
    assert some.keys() - none.keys() == {name, f"{kind}_probability"}


def test_devices_decide_nothing_until_there_are_some():
    none = deciding(AugmentConfig())
    assert not any(name.startswith("device") for name in none)
    assert deciding(AugmentConfig(device_colour_db=3)) == none
    some = deciding(AugmentConfig(device_probability=0.1))
    assert some.keys() - none.keys() == {
        "device_probability",
        "device_colour_db",
        "device_low_cut_hz",
        "device_high_cut_hz",
        "device_overload_db",
    }


@pytest.mark.parametrize("dilations", [(), (0,), (65,), (1,) * 25])
def test_dilations_that_make_no_network_are_refused(dilations):
    with pytest.raises(ValidationError, match="dilations"):
        Config.model_validate({"training": {"model": {"arch": "tcn", "dilations": dilations}}})


def test_context_must_hold_what_follows_the_word():
    Config.model_validate({"features": {"context": {"frames": 0}}})
    with pytest.raises(ValidationError, match="20 frames are 0"):
        Config.model_validate({"features": {"context": {"frames": 20}}})


def test_training_rows_are_windows_and_their_context():
    features = Config.model_validate({"features": {"context": {"frames": 40}}}).features
    frontend = features.frontend
    assert features.row_frames("train") == frontend.window_frames + 40
    assert features.row_frames("val") == features.row_frames("test") == frontend.window_frames
    for split in ("train", "val"):
        frames = 1 + (features.row_samples(split) - frontend.n_fft) // frontend.hop_length
        assert frames == features.row_frames(split)
        assert (features.row_samples(split) - frontend.n_fft) % frontend.hop_length == 0


def test_no_more_votes_than_scores():
    with pytest.raises(ValidationError, match="votes"):
        Config.model_validate({"evaluation": {"detector": {"smoothing": 2, "votes": 3}}})
