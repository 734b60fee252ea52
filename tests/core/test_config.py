import pytest
from pydantic import BaseModel, ValidationError

from wakeword_core.config import NEGATIVE_LABEL, Config, FrontendConfig, SourceConfig


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


@pytest.mark.parametrize(("phrase", "slug"), [("Hey  Robin!", "hey_robin"), ("ça va", "a_va"), ("你好", "wakeword")])
def test_slug_is_a_plain_file_name(phrase, slug):
    assert Config(phrase=phrase).slug == slug


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
    assert Config.model_validate({"model": {"arch": "bc_resnet", "tau": tau}}).model.tau == tau


def test_infinite_numbers_are_refused():
    with pytest.raises(ValidationError):
        Config.model_validate({"data": {"max_seconds": float("inf")}})


def test_subset_holds_only_the_named_fields():
    subset = Config().subset("phrase", "features.frontend.n_mels")
    assert subset == {"phrase": "hey robin", "features.frontend.n_mels": 64}


def test_a_loaded_configuration_never_changes():
    with pytest.raises(ValidationError):
        Config().phrase = "other"
