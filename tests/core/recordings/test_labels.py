"""Labels by folder, by pattern and by table, and what they make of a recording."""

import unicodedata

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from wakeword_core.config import Config, SourceConfig, wake_words
from wakeword_core.errors import DataError
from wakeword_core.recordings.labels import labels_and_roles, nearly_wake_words, speaker_groups, value_from_path
from wakeword_core.text import printable


def source(role="negative", name="mine", path=".", **settings):
    return SourceConfig(name=name, path=path, role=role, **settings)


def meant(one, paths, stated=None, words=("hey robin",), phrase="hey robin"):
    return list(zip(*labels_and_roles(one, paths, stated, set(words), phrase), strict=True))


@pytest.mark.parametrize(
    ("rule", "path", "told"),
    [
        ("parent", "x/ann/a.wav", "ann"),
        ("parent", "a.wav", None),
        ("folder:1", "x/ann/a.wav", "x"),
        ("folder:2", "x/ann/a.wav", "ann"),
        ("folder:3", "x/ann/a.wav", None),
        ("folder:-1", "x/ann/a.wav", "ann"),
        ("folder:-2", "x/ann/a.wav", "x"),
        ("folder:-3", "x/ann/a.wav", None),
        ("regex:^(?P<label>[a-z]+)_", "yes_1.wav", "yes"),
        ("regex:^(?P<label>[a-z]*)_", "_1.wav", None),
        ("regex:^(?P<label>[a-z]+)_", "1.wav", None),
    ],
)
def test_rules_read_a_path(rule, path, told):
    assert value_from_path(rule, "label", path) == told


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=5), st.data())
def test_folders_count_from_both_ends(folders, data):
    path = "/".join([*folders, "x.wav"])
    place = data.draw(st.integers(1, len(folders)))
    assert value_from_path(f"folder:{place}", "label", path) == folders[place - 1]
    assert value_from_path(f"folder:{-place}", "label", path) == folders[-place]
    assert value_from_path("parent", "label", path) == value_from_path("folder:-1", "label", path)


def test_without_labels_the_role_says_it_all():
    assert meant(source(), ["hey robin/a.wav"]) == [("_negative", "negative")]
    assert meant(source("positive"), ["cat/a.wav"]) == [("hey robin", "positive")]
    assert meant(source("positive", label="alexa"), ["a.wav"], words=["alexa"]) == [("alexa", "positive")]


def test_a_folder_named_like_the_wake_word_holds_positives_and_others_do_not():
    tree = source("hard_negative", labels="parent")
    paths = ["hey robin/a.wav", "Hey_Robin/b.wav", "hey-robin/c.wav", "cat/d.wav", "e.wav"]
    assert meant(tree, paths) == [("hey robin", "positive")] * 3 + [("_negative", "hard_negative")] * 2


def test_a_word_is_matched_exactly_before_its_spelling_is_forgiven():
    tree = source(labels="parent", words=["Alexa", "alexa"])
    found = meant(tree, ["alexa/a.wav", "Alexa/b.wav"], words=["Alexa", "alexa"])
    assert [label for label, _ in found] == ["alexa", "Alexa"]


SPELLINGS = [
    unicodedata.normalize("NFD", "café robin"),
    "Café Robin!",
    "CAFÉ_ROBIN",
    "café-robin",
    "caférobin",
    "  café\u00a0robin ",
    "“café, robin”",
    "ｃａｆé　ｒｏｂｉｎ",
    "ca\u00adfé robin\u200b",
]


@pytest.mark.parametrize("label", SPELLINGS)
def test_the_phrase_in_another_spelling_is_the_phrase_wherever_it_stands(label):
    phrase = "café robin"
    expected = [(phrase, "positive")]
    assert meant(source(labels="parent"), [f"{label}/a.wav"], words=[phrase], phrase=phrase) == expected
    assert meant(source(), ["a.wav"], pd.DataFrame({"label": [label]}), words=[phrase], phrase=phrase) == expected
    assert meant(source(labels="parent"), [f"{phrase}/a.wav"], words=[label], phrase=label) == [(label, "positive")]
    if printable(label) == label:  # others are refused in a configuration
        assert wake_words([source("positive", label=label)], phrase) == {phrase}
        assert meant(source("positive", label=label), ["a.wav"], words=[phrase], phrase=phrase) == expected
    both = [source(labels="parent", words=["zoé", "ant"]), source("positive", name="b", label="Zoe\u0301!")]
    assert wake_words(both, phrase) == {"zoé", "ant"}
    assert nearly_wake_words(source(labels="parent"), [f"{label}/a.wav"], None, [phrase]) == []


def test_what_only_looks_like_a_negative_is_none():
    assert meant(source(labels="parent"), ["_negative/a.wav"], words=["negative"]) == [("_negative", "negative")]
    assert meant(source(labels="parent"), ["!?/a.wav"]) == [("_negative", "negative")]


def test_labels_that_are_almost_a_wake_word_are_named():
    paths = ["hey robins/a.wav", "hey robins/b.wav", "Hey Robyn/c.wav", "hello hey robin/d.wav", "cat/e.wav", "f.wav"]
    found = nearly_wake_words(source(labels="parent"), paths, None, ["hey robin"])
    assert [(near["label"], near["word"], near["recordings"]) for near in found] == [
        ("Hey Robyn", "hey robin", 1),
        ("hello hey robin", "hey robin", 1),
        ("hey robins", "hey robin", 2),
    ]
    stated = pd.DataFrame({"label": ["cafe", "cat", "tea"]})
    assert [near["label"] for near in nearly_wake_words(source(), ["a", "b", "c"], stated, ["café"])] == ["cafe"]
    stated = pd.DataFrame({"label": ["cafe robin", "no", "north"]})
    assert [near["label"] for near in nearly_wake_words(source(), ["a", "b", "c"], stated, ["café robin", "no"])] == [
        "cafe robin"
    ]


def test_positives_must_be_wake_words():
    tree = source("positive", labels="parent")
    assert meant(tree, ["hey robin/a.wav"]) == [("hey robin", "positive")]
    with pytest.raises(DataError, match=r"'mine' do not fit the wake words hey robin: cat/b\.wav is labelled 'cat'"):
        meant(tree, ["hey robin/a.wav", "cat/b.wav"])
    with pytest.raises(DataError, match=r"c\.wav has no label, but is to be a positive"):
        meant(tree, ["c.wav"])
    with pytest.raises(DataError, match="and 2 more; correct them, add to words"):
        meant(tree, [f"cat/{index}.wav" for index in range(5)])


def test_what_a_table_states_goes_before_the_rule():
    tree = source("negative", labels="parent")
    stated = pd.DataFrame({"label": ["", "dog", "hey robin"]})
    found = meant(tree, ["hey robin/a.wav", "hey robin/b.wav", "dog/c.wav"], stated)
    assert found == [("hey robin", "positive"), ("_negative", "negative"), ("hey robin", "positive")]


def test_a_role_and_a_label_that_contradict_each_other_are_an_error():
    stated = pd.DataFrame({"label": ["hey robin"], "role": ["negative"]})
    with pytest.raises(DataError, match="labelled 'hey robin', a wake word, but its role is negative"):
        meant(source(), ["a.wav"], stated)
    with pytest.raises(DataError, match="labelled 'cat', which is no wake word"):
        meant(source(), ["a.wav"], pd.DataFrame({"label": ["cat"], "role": ["positive"]}))
    with pytest.raises(DataError, match="has no label, but is to be a positive"):
        meant(source("positive", words=["a", "b"], labels="parent"), ["x.wav"], None, words=["a", "b"])


def test_a_table_of_several_words_must_say_which():
    listed = source("positive", path="t.csv", words=["a", "b"])
    with pytest.raises(DataError, match=r"wake words a, b: x\.wav has no label"):
        meant(listed, ["x.wav"], pd.DataFrame({"speaker": ["ann"]}), words=["a", "b"])


def test_wake_words_are_those_of_labels_words_and_the_phrase():
    assert wake_words([source()], "robin") == frozenset()
    assert wake_words([source("positive")], "robin") == {"robin"}
    assert wake_words([source("positive", label="a"), source(labels="parent", words=["b"])], "robin") == {"a", "b"}
    assert wake_words([source("positive", labels="parent", words=["b", "c"])], "robin") == {"b", "c"}


def test_classes_of_the_model_are_the_wake_words():
    def labels(**settings):
        one = {"name": "a", "path": "x", "role": "negative", **settings}
        return Config.model_validate({"phrase": "robin", "data": {"sources": [one]}}).labels

    assert labels() == labels(labels="parent") == ("_negative", "robin")
    assert labels(labels="parent", words=["cat", "ant"]) == ("_negative", "ant", "cat")
    assert labels(role="positive", label="cat") == ("_negative", "cat")


@pytest.mark.parametrize("rule", ["parent", "folder:2", "folder:-2", "regex:(?P<label>x)"])
def test_label_rules(rule):
    assert source(labels=rule).labels == rule


@pytest.mark.parametrize("rule", ["", "folder:0", "folder:", "regex:(", "regex:x", "single", "block:3"])
def test_wrong_label_rules_are_refused(rule):
    with pytest.raises(ValidationError, match="labels"):
        source(labels=rule)


@pytest.mark.parametrize("words", [["_x"], [" "], ["a", "a"], ["a\n"], ["a" * 61]])
def test_words_that_cannot_be_are_refused(words):
    with pytest.raises(ValidationError, match="words"):
        source(labels="parent", words=words)


def test_words_need_something_that_tells_them_apart():
    with pytest.raises(ValidationError, match="words of source 'mine' need labels"):
        source(words=["a"])
    assert source(path="t.csv", words=["a"]).is_table


@pytest.mark.parametrize("rule", ["folder:1", "folder:-2"])
def test_speakers_may_be_folders_too(rule):
    assert source(speaker=rule).speaker == rule


def groups(rule, paths, name="mine"):
    source = SourceConfig(name=name, path=".", role="positive", speaker=rule)
    return speaker_groups(source, paths, [f"{index:064d}" for index in range(len(paths))])


@pytest.mark.parametrize(
    ("rule", "paths", "speakers", "known"),
    [
        ("unknown", ["a.wav", "b.wav"], ["mine/" + "0" * 16] * 2, [False, False]),
        ("single", ["a.wav", "x/b.wav"], ["mine/single"] * 2, [True, True]),
        ("parent", ["x/ann/a.wav", "y/ann/b.wav"], ["mine/ann"] * 2, [True, True]),
        ("parent", ["a.wav"], ["mine/" + "0" * 16], [False]),
        ("block:10", ["0009.wav", "0010.wav", "0019.wav"], ["mine/#0", "mine/#1", "mine/#1"], [True] * 3),
        ("block:10", ["x/a7.wav", "y/a8.wav"], ["mine/x/a#0", "mine/y/a#0"], [True] * 2),
        ("block:10", ["take.wav"], ["mine/" + "0" * 16], [False]),
        (r"regex:^(?P<speaker>\d+)-", ["12-1.wav", "x.wav"], ["mine/12", "mine/" + "0" * 16], [True, False]),
        (r"regex:(?P<speaker>z*)", ["a.wav"], ["mine/" + "0" * 16], [False]),
    ],
)
def test_speaker_rules(rule, paths, speakers, known):
    found = groups(rule, paths)
    assert found == (speakers, known)


def test_unknown_speakers_are_groups_of_their_own():
    source = SourceConfig(name="mine", path=".", role="positive")
    assert len(set(speaker_groups(source, ["a", "b"], ["1" * 64, "2" * 64])[0])) == 2


def test_sources_of_one_speaker_space_share_their_speakers():
    family, talk = (
        SourceConfig(name=n, path=".", role="negative", speaker="parent", speaker_space="home") for n in "ab"
    )
    assert speaker_groups(family, ["v1/a.wav"], ["0"])[0] == speaker_groups(talk, ["v1/b.wav"], ["1"])[0] == ["home/v1"]
    assert groups("parent", ["v1/a.wav"], "one") != groups("parent", ["v1/a.wav"], "two")
