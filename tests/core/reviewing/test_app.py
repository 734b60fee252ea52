"""What the server of a review answers, and whom."""

import io
import json
import re
import shutil

import pytest
import soundfile
from kept_captures import WORD
from loud_model import loud_and_quiet

from wakeword_core.audio import from_pcm16, write_audio
from wakeword_core.config import KeepConfig
from wakeword_core.errors import ConfigError, DataError
from wakeword_core.recordings.captured import Opinion, read_reviews, save_review
from wakeword_core.reviewing import captured_sound
from wakeword_core.reviewing.captured_sound import CapturedSound
from wakeword_core.runtime.captures import Keeper, captures_in
from wakeword_core.runtime.model import score_files

FOREIGN = {"Origin": "http://evil.example"}


def said(name, state="no", **more):
    return {"name": name, "state": state, "reviewer": "anna", **more}


def test_captures_are_listed_with_what_was_said_of_them(folder, names, client) -> None:
    save_review(folder, names[0], Opinion("yes", "ben", WORD, "child", "CC-BY-4.0"))
    save_review(folder, names[1], Opinion("deleted", "ben"))
    facts = {"word": ["x"], "score": "high", "threshold": 10**400, "before_seconds": -1}
    (folder / f"{names[2]}.json").write_text(json.dumps(facts))
    listed = client().get("/captures").json()
    assert [one["name"] for one in listed["captures"]] == [names[0], names[2]]
    first, last = listed["captures"]
    assert (first["kind"], first["word"], first["score"], first["review"]["speaker"]) == ("event", WORD, 0.9, "child")
    assert first["time"] == "2026-11-28T09:00:00.000+00:00" and first["revision"]
    assert (last["review"], last["revision"], last["word"], last["score"]) == (None, "", "", None)
    assert (last["threshold"], last["before_seconds"]) == (None, None)
    assert [(one["name"], one["reviewer"]) for one in listed["gone"]] == [(names[1], "ben")]
    assert listed["defaults"] == {"reviewer": "anna", "speaker": "parent", "licence": "CC0-1.0"}
    assert listed["words"] == [WORD] and listed["scores"] is False


def test_a_list_that_is_known_is_not_sent_again_until_somebody_says_something(folder, names, client) -> None:
    asking = client()
    known = {"If-None-Match": asking.get("/captures").headers["etag"]}
    assert asking.get("/captures", headers=known).status_code == 304
    save_review(folder, names[0], Opinion("unsure", "ben"))
    assert asking.get("/captures", headers=known).json()["captures"][0]["review"]["reviewer"] == "ben"


def test_sound_is_as_it_was_kept_before_and_after_a_label_and_nothing_is_kept_by_browsers(
    folder, names, client
) -> None:
    asking, kept = client(), captures_in(folder)[0].sound.read_bytes()
    for state in ("no", "unsure"):
        answer = asking.get(f"/captures/{names[0]}/sound")
        assert answer.content == kept and answer.headers["content-type"] == "audio/flac"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert soundfile.info(io.BytesIO(answer.content)).duration == 1.0
        seen = asking.get("/captures").json()["captures"][0]["revision"]
        assert asking.post("/reviews", json=said(names[0], state, seen=seen)).status_code == 200


def test_with_a_model_the_trace_is_that_of_the_model_and_without_one_it_is_told(
    tmp_path, folder, client, model
) -> None:
    import numpy as np

    keeper = Keeper(folder, KeepConfig(max_days=3_650))
    sound = keeper.keep(loud_and_quiet(), 16_000, "event", WORD, {}, 0.0)
    trace = client(model=model).get(f"/captures/{sound.stem}/scores").json()
    score_files(model, [sound], tmp_path / "scores.npz")
    expected = np.load(tmp_path / "scores.npz")
    np.testing.assert_allclose(trace["times"], expected["time"])
    np.testing.assert_allclose(trace["scores"], expected["score"], rtol=1e-6)
    assert trace["threshold"] == model.threshold < max(trace["scores"])
    without = client().get(f"/captures/{sound.stem}/scores")
    assert without.status_code == 422 and "--model" in without.json()["detail"]


def test_what_is_no_capture_is_neither_read_nor_scored(folder, names, client, model) -> None:
    asking = client(model=model)
    write_audio(folder / "2026-11-28T09-30-00.000000_event.flac", from_pcm16(loud_and_quiet(121.0)), 16_000)
    long = asking.get("/captures/2026-11-28T09-30-00.000000_event/scores")
    assert long.status_code == 422 and "longer than 120 s" in long.json()["detail"]
    with (folder / f"{names[0]}.flac").open("ab") as file:
        file.truncate(33 * 2**20)
    assert "more than 32 MB" in asking.get(f"/captures/{names[0]}/sound").json()["detail"]
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert asking.get(path).status_code == 404
    for name in ("nothing", "..%2f..%2fsecret", "%2e%2e", "labels.csv", f"labelled%2f{names[1]}"):
        assert asking.get(f"/captures/{name}/sound").status_code == 404


def test_a_review_is_saved_and_one_of_something_unseen_is_refused(folder, names, client) -> None:
    asking = client()
    first = asking.post("/reviews", json=said(names[0], "yes", word=WORD, speaker="child")).json()
    assert first["split"] in ("train", "test") and first["revision"]
    refused = asking.post("/reviews", json=said(names[0], "no", reviewer="ben"))
    assert refused.status_code == 409 and refused.json()["code"] == "reviewed_meanwhile"
    assert "anna said yes" in refused.json()["detail"]
    assert asking.post("/reviews", json=said(names[0], "no", seen=first["revision"])).status_code == 200
    assert {name: review.state for name, review in read_reviews(folder).items()} == {names[0]: "no"}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pages_of_others_and_other_names_get_nothing_and_say_nothing(folder, names, client, method) -> None:
    asking = client()
    path, body = ("/captures", None) if method == "GET" else ("/reviews", said(names[0], "deleted"))
    for headers in (FOREIGN, {"Origin": "null"}, {"Origin": "http://127.0.0.1:9999"}):
        assert asking.request(method, path, json=body, headers=headers).status_code == 403
    assert asking.request(method, path, json=body, headers={"Host": "rebound.example:8766"}).status_code == 421
    assert len(captures_in(folder)) == 3 and read_reviews(folder) == {}
    own = {"Origin": "http://127.0.0.1:8766"}
    assert asking.request(method, path, json=body, headers=own).status_code == 200


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b'{"name": "x", "state": "deleted"}', "text/plain", 415),
        (b"name=x&state=deleted", "application/x-www-form-urlencoded", 415),
        (b"{", "application/json", 422),
        (b'{"name": "x", "state": "perhaps"}', "application/json", 422),
        (b'{"name": "x", "state": "no", "path": "/etc"}', "application/json", 422),
        (b'{"name": "../x", "state": "deleted"}', "application/json", 422),
        (b'{"name": "x", "state": "no", "word": "' + b"x" * 16_384 + b'"}', "application/json", 413),
    ],
)
def test_what_is_no_review_is_a_problem(folder, client, body, kind, status) -> None:
    answer = client().post("/reviews", content=body, headers={"Content-Type": kind})
    assert answer.status_code == status and answer.headers["content-type"] == "application/problem+json"
    assert read_reviews(folder) == {}


def test_the_page_may_load_its_own_files_only_and_all_of_them_are_there(client) -> None:
    asking, seen, left = client(), set(), ["/"]
    while left:
        path = left.pop()
        answer = asking.get(path)
        assert answer.status_code == 200 and answer.headers["x-content-type-options"] == "nosniff"
        assert not re.findall(r"https?://|\sstyle=|\son\w+=", answer.text)
        seen.add(path)
        loaded = re.findall(r'(?: from|src=|href=) ?"(?:\./)?(\w+\.(?:js|css))"', answer.text)
        left += [f"/{name}" for name in loaded if f"/{name}" not in seen]
    assert seen == {"/", "/review.js", "/captures.js", "/pictures.js", "/sound.js", "/style.css"}
    headers = asking.get("/").headers
    assert "default-src 'none'" in headers["content-security-policy"] and "unsafe-inline" not in str(headers)
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_where_others_can_connect_all_but_the_page_needs_the_token(names, client) -> None:
    asking = client(token="s3cret", loopback=False)
    assert asking.get("/", headers={"Host": "house.example"}).status_code == 200
    for method, path in (("GET", "/captures"), ("GET", f"/captures/{names[0]}/sound"), ("POST", "/reviews")):
        assert asking.request(method, path).status_code == 401
    assert asking.get("/captures", headers={"Authorization": "Bearer s3cret"}).status_code == 200


def test_labels_that_cannot_be_read_are_said_before_anything_is_served(folder, tmp_path, client) -> None:
    asking = client()
    (folder / "labels.csv").write_text("mine\n")
    assert "labels.csv" in asking.get("/captures").json()["detail"]
    with pytest.raises(DataError, match=r"labels\.csv"):
        client()
    with pytest.raises(ConfigError, match="there is no folder"):
        CapturedSound(tmp_path / "none")
    shutil.rmtree(folder)
    assert "cannot be listed" in asking.get("/captures").json()["detail"]


def test_what_a_kill_left_half_written_is_removed(folder) -> None:
    (folder / ".labels.csv.0123456789ab.part").write_text("half")
    CapturedSound(folder)
    assert list(folder.glob(".*.part")) == []


def test_facts_are_read_once_however_often_the_page_asks(folder, names, monkeypatch) -> None:
    read = []
    read_facts = captured_sound.read_facts
    monkeypatch.setattr(
        captured_sound, "read_facts", lambda capture: read.append(capture.sound.stem) or read_facts(capture)
    )
    captured = CapturedSound(folder)
    save_review(folder, names[0], Opinion("no"))
    assert [one.name for one in captured.captures()[0]] == names == read


def test_facts_that_were_moved_while_they_were_looked_for_are_read_the_next_time(folder, names, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(captured_sound, "read_facts", lambda capture: {})
        captured = CapturedSound(folder)
    assert [one.word for one in captured.captures()[0]] == [WORD] * len(names)


def test_a_link_with_the_name_of_a_capture_is_none(folder, names) -> None:
    sound = folder / f"{names[0]}.flac"
    sound.rename(folder.parent / "elsewhere.flac")
    sound.symlink_to(folder.parent / "elsewhere.flac")
    assert [one.name for one in CapturedSound(folder).captures()[0]] == names[1:]
