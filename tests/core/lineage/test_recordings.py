"""Down to the recordings: which ones, how many, by whom and under which licence; and from a recording upwards."""

import pytest

from wakeword_core.errors import ArtifactError
from wakeword_core.lineage.recordings import count, count_by_source, find_recordings, recordings_behind, used_in
from wakeword_core.recordings.manifest import read_manifest
from wakeword_core.store.graph import Graph


@pytest.fixture(scope="module")
def graph(home) -> Graph:
    return Graph.of_store(home.store)


def newest(graph: Graph, name: str):
    return max((one for one in graph.nodes.values() if one.name == name), key=lambda one: one.created)


def test_a_model_was_made_from_the_splits_it_saw_and_no_others(home, graph) -> None:
    manifest = read_manifest(home.project().require("raw_manifest").path)
    for name, splits in (
        ("mel_features[val]", {"val"}), ("trained_model", {"train"}), ("calibrated_model", {"train", "val"}),
        ("model_bundle", {"train", "val", "test"}),
    ):  # fmt: skip
        rows = recordings_behind(graph, newest(graph, name), home.store.root)
        assert (
            set(rows["recording_id"]) == set(manifest.loc[manifest["split"].isin(splits), "recording_id"])
            and rows["recording_id"].is_unique
        )


def test_counts(home, graph) -> None:
    rows = recordings_behind(graph, newest(graph, "model_bundle"), home.store.root)
    total, by_source = count(rows), count_by_source(rows)
    assert (total.recordings, total.speakers, total.unknown_speakers) == (300, 15, 0)
    assert total.hours == pytest.approx(300 / 3600, abs=1e-4) and sum(total.splits.values()) == 300
    told = {one.source: (one.licence, one.commercial_use, one.counts.recordings) for one in by_source}
    assert told == {
        "spoken": ("CC-BY-4.0", "allowed", 100),
        "other": ("CC0-1.0", "allowed", 100),
        "street": ("not stated", "unclear", 100),
    }


def test_the_licence_is_what_is_stated_now(own_home) -> None:
    sources = own_home.config.model_dump(mode="json")["data"]["sources"]
    sources[2]["licence"] = "MIT"
    own_home.project(data={"sources": sources}).build("raw_manifest")
    graph = Graph.of_store(own_home.store)
    rows = recordings_behind(graph, newest(graph, "trained_model"), own_home.store.root)
    assert set(rows["licence"]) == {"CC-BY-4.0", "CC0-1.0", "MIT"}


def test_a_recording_goes_into_its_split_and_all_that_was_made_from_it(home, graph) -> None:
    manifest = read_manifest(home.project().require("raw_manifest").path, split="val")
    row = manifest.iloc[0]
    found = find_recordings(graph, home.store.root, row["recording_id"][:12])
    assert [one.row["path"] for one in found] == [row["path"]]
    assert find_recordings(graph, home.store.root, f"{row['source']}/{row['path']}") == found
    (shards,) = used_in(graph, found)
    assert shards.name == "audio_shards[val]"
    after = {one.name for one in graph.downstream(shards)}
    assert {"mel_features[val]", "calibrated_model", "model_bundle"} <= after and "trained_model" not in after


def test_what_is_quarantined_went_into_nothing(home, graph) -> None:
    (found,) = find_recordings(graph, home.store.root, "spoken/speaker0000/000000.wav")
    found.row["status"] = "quarantined"
    assert used_in(graph, [found]) == []


def test_a_manifest_that_is_gone_is_said(home, graph, tmp_path) -> None:
    with pytest.raises(ArtifactError, match="give the --home that made it"):
        recordings_behind(graph, newest(graph, "trained_model"), tmp_path)
