"""Verdicts on uploads: those of the runtime, by whatever way they come, and the cascade's policy."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from wakeword_core.audio import read_pcm_blocks
from wakeword_core.config import ServingConfig
from wakeword_core.errors import ArtifactError, ConfigError
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.model import detect_blocks
from wakeword_core.serving.service import Service

WAV = {"Content-Type": "audio/wav"}


def verify(client, data, headers=WAV):
    response = client.post("/v1/verify", content=data, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize(
    ("rate", "format", "subtype", "channels"),
    [(16_000, "WAV", "PCM_16", 1), (44_100, "WAV", "FLOAT", 2), (48_000, "FLAC", "PCM_24", 2),
     (8_000, "OGG", "VORBIS", 1), (48_000, "OGG", "OPUS", 1), (44_100, "MP3", "MPEG_LAYER_III", 2)],
)  # fmt: skip
def test_a_verdict_is_what_the_runtime_detects(
    serving, model, sound, encode, tmp_path, rate, format, subtype, channels
):
    pcm = np.repeat(sound(3.0, rate=rate)[:, None], channels, axis=1)
    path = tmp_path / f"a.{format.lower()}"
    path.write_bytes(encode(pcm / 32_768, rate, format, subtype))
    expected = detect_blocks(model, read_pcm_blocks(path, 16_000))
    with serving() as client:
        found = verify(client, path.read_bytes(), {"Content-Type": "application/octet-stream"})
    assert len(expected) == 2 and [one["time"] for one in found["events"]] == [round(one.time, 3) for one in expected]
    np.testing.assert_allclose([one["score"] for one in found["events"]], [one.score for one in expected], atol=1e-4)
    assert found["prediction"] is True and found["label"] == "hey robin" and found["model"] == "artifact-key"
    assert found["threshold"] == 0.6 and found["decided_by"] == "sentry" and found["judge_score"] is None
    assert found["seconds"] == pytest.approx(3.0, abs=0.02) and {"queue", "decode", "sentry"} == set(
        found["timings_ms"]
    )


@pytest.mark.parametrize(
    ("kind", "container", "codec", "channels"),
    [
        ("audio/webm;codecs=opus", "webm", "libopus", 1),
        ("video/webm", "webm", "libopus", 2),
        ("audio/mp4", "mp4", "aac", 2),
        ("audio/aac", "adts", "aac", 1),
    ],
)
def test_what_browsers_and_telephones_record_is_heard(serving, sound, record, kind, container, codec, channels):
    data = record(sound(3.0, rate=48_000) / 32_768, 48_000, container, codec, channels)
    with serving() as client:
        found = verify(client, data, {"Content-Type": kind})
        assert client.post("/v1/verify", files={"file": ("a", data, kind)}).json()["events"] == found["events"]
    assert [one["time"] for one in found["events"]] == pytest.approx([0.9, 2.4], abs=0.15)
    assert found["seconds"] == pytest.approx(3.0, abs=0.1)


def test_confidence_is_the_highest_threshold_with_an_event(serving, model, sound, encode):
    pcm = sound(2.0, level=160)
    with serving() as client:
        found = verify(client, encode(pcm))
    assert 0 < found["confidence"] < 0.6 and found["prediction"] is False and found["events"] == []
    assert model.detect(pcm, threshold=found["confidence"] - 1e-4) and not model.detect(pcm, found["confidence"] + 1e-4)


def test_a_form_is_the_same_and_the_name_of_its_file_is_not_looked_at(serving, sound, encode, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = encode(sound())
    with serving() as client:
        plain = verify(client, data)
        for name in (
            "a.wav",
            "../../../etc/passwd",
            "/etc/shadow",
            "C:\\a.wav",
            "%2e%2e%2fa",
            "…\u202e",
        ):
            response = client.post("/v1/verify", files={"file": (name, data)})
            assert response.status_code == 200, response.text
            assert {**response.json(), "timings_ms": 0} == {**plain, "timings_ms": 0} and name not in response.text
        for name in ("a\x01.wav", "x" * 20_000, '"; name="other', "a\r\nContent-Type: text/html"):
            assert client.post("/v1/verify", files={"file": (name, data)}).status_code in (200, 422)
    assert list(tmp_path.iterdir()) == []


def test_requests_at_once_share_runs_and_keep_their_own_scores(serving, sound, encode):
    clips = [
        encode((sound(1.6, seed) * gain).astype(np.int16)) for seed, gain in enumerate(np.linspace(0.015, 0.06, 8))
    ]
    with serving(batch_wait_ms=0) as client:
        alone = [verify(client, clip)["confidence"] for clip in clips]
        assert client.service.metrics.batch_requests.labels("sentry")._sum.get() == 9  # with the one that warmed up
    with serving(batch_wait_ms=100, batch_windows=4_000, workers=8) as client:
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda clip: verify(client, clip)["confidence"], clips))
        runs = [
            one for one in client.service.metrics.batch_requests.collect()[0].samples if one.name.endswith("_count")
        ]
        assert runs[0].value < 9
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert len(set(alone)) == 8


def test_the_judge_is_asked_only_where_the_sentry_calls(serving, make_model, sound, encode, tmp_path):
    judge = make_model(tmp_path / "judge", bias=1.0, threshold=0.1, key="judge-key")
    with serving(judge=judge) as client:
        quiet = verify(client, encode(sound(0.7)))
        loud = verify(client, encode(sound(level=400)))
    assert quiet["decided_by"] == "sentry" and quiet["judge_score"] is None and not quiet["prediction"]
    assert quiet["threshold"] == 0.6 and quiet["model"] == "artifact-key" and "judge" not in quiet["timings_ms"]
    assert (
        loud["decided_by"] == "judge"
        and loud["prediction"]
        and loud["model"] == "judge-key"
        and len(loud["events"]) == 2
    )
    assert loud["threshold"] == 0.1 and loud["confidence"] == loud["judge_score"] < loud["sentry_score"]
    assert "judge" in loud["timings_ms"]


@pytest.mark.parametrize("combine", ["judge", "mean", "least"])
def test_the_policy_decides(serving, make_model, sound, encode, tmp_path, combine):
    judge = make_model(tmp_path / "judge", bias=1.0)
    with serving(judge=judge, cascade={"combine": combine}) as client:
        first = verify(client, encode(sound(1.5, level=400)))
    sentry_score, judge_score = first["sentry_score"], first["judge_score"]
    expected = {"judge": judge_score, "mean": (sentry_score + judge_score) / 2, "least": min(sentry_score, judge_score)}
    assert first["confidence"] == pytest.approx(expected[combine], abs=1e-4) and judge_score < sentry_score
    for threshold, accepted in ((first["confidence"] - 0.01, True), (first["confidence"] + 0.01, False)):
        with serving(judge=judge, cascade={"combine": combine, "judge_threshold": threshold}) as client:
            found = verify(client, encode(sound(1.5, level=400)))
            text = client.get("/metrics").text
        assert found["prediction"] is accepted is bool(found["events"])
        told = f'wakeword_events_total{{accepted="{str(accepted).lower()}",decided_by="judge",source="upload"}} 1.0'
        assert told in text


def test_the_sentrys_threshold_can_be_set(serving, sound, encode):
    with serving(cascade={"sentry_threshold": 1.0}) as client:
        found = verify(client, encode(sound(level=400)))
    assert found["threshold"] == 1.0 and not found["prediction"]


def test_the_threshold_is_chosen_by_name_for_every_model_that_listens(serving, make_model, sound, encode, tmp_path):
    """Of sound in which the highest score is 0.95."""
    points = {"strict": 0.97, "lenient": 0.9}
    named, other = (
        make_model(tmp_path / name, labels=("_negative", name), threshold=0.5, points=points) for name in ("one", "two")
    )
    for sensitivity, threshold in (("strict", 0.97), ("lenient", 0.9), (None, 0.5)):
        with serving(sentry=named, sensitivity=sensitivity) as client:
            found = verify(client, encode(sound(level=400)))
            assert client.get("/v1/model").json()["threshold"] == threshold
        assert found["threshold"] == threshold and found["prediction"] is (threshold < 0.97)
    service = Service(ServingConfig(sensitivity="strict"), named, None, [other])
    assert [one.sentry.threshold for one in service.cascades] == [0.97, 0.97]
    with pytest.raises(ConfigError, match="has no sensitivity 'keen'; it has strict, lenient"):
        Service(ServingConfig(sensitivity="keen"), named)
    both = ServingConfig.model_validate({"sensitivity": "strict", "cascade": {"sentry_threshold": 0.3}})
    with pytest.raises(ConfigError, match="give one of them"):
        Service(both, named)


def test_a_server_for_cuda_runs_on_the_cpu_where_there_is_none(serving, sound, encode, monkeypatch, caplog):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with serving(device="cuda") as client:
        assert len(verify(client, encode(sound()))["events"]) == 2
    lines = [record.getMessage() for record in caplog.records if "runs on the CPU" in record.getMessage()]
    assert len(lines) == 2 and all("onnxruntime-gpu" in line for line in lines)  # windows, and the one that streams


def test_the_judge_hears_what_the_policy_says_at_its_own_rate(make_model, folder, tmp_path, sound):
    judge = make_model(tmp_path / "judge", rate=8_000)
    settings = ServingConfig.model_validate({"cascade": {"before_seconds": 1.0, "after_seconds": 0.25}})
    service = Service(settings, folder, judge)
    assert service.cascade.span(2.0) == (16_000, 36_000)
    heard = []
    judge_model = service.cascade.judge.model
    score_audio = judge_model.score_audio
    judge_model.score_audio = lambda pcm, *rest: heard.append(pcm) or score_audio(pcm)
    call = WakewordModel(folder).detect(sound())[0]
    service.cascade.decide(call, sound()[:20_000])
    assert len(heard[0]) == 10_000


def test_a_server_of_clips_shorter_than_a_window_starts(serving, sound, encode, refused):
    with serving(max_seconds=0.5) as client:
        assert client.post("/v1/verify", content=encode(sound(0.5)), headers=WAV).status_code == 200
        refused(client.post("/v1/verify", content=encode(sound(0.6)), headers=WAV), 413, "too_long")


def test_models_that_cannot_serve_are_said(make_model, folder, tmp_path):
    other = make_model(tmp_path / "other", labels=("_negative", "computer"))
    with pytest.raises(ConfigError, match="cannot confirm 'hey robin', which the sentry hears; it knows computer"):
        Service(ServingConfig(), folder, other)
    with pytest.raises(ArtifactError, match="no model at"):
        Service(ServingConfig(), folder, tmp_path / "none")


def test_the_judge_confirms_the_word_that_was_called(serving, make_model, sound, encode, tmp_path):
    judge = make_model(tmp_path / "judge", labels=("_negative", "computer", "hey robin"), threshold=0.2)
    with serving(judge=judge) as client:
        assert {one["word"] for one in verify(client, encode(sound()))["events"]} == {"hey robin"}


def test_a_word_with_a_handicap_is_heard_and_judged_by_it(serving, make_model, sound, encode, tmp_path):
    """Where two words are heard alike, the first is the likeliest; the judge knows them in another order."""
    handicap = {"handicaps": {"computer": 1e6}}
    sentry = make_model(tmp_path / "sentry", 2.0, 0.3, ("_negative", "hey robin", "computer"))
    hard = make_model(tmp_path / "hard", 2.0, 0.3, ("_negative", "computer", "hey robin"), card=handicap)
    with serving(sentry=sentry, judge=hard) as client:
        assert {one["word"] for one in verify(client, encode(sound()))["events"]} == {"hey robin"}
    with serving(sentry=hard) as client:
        answer = verify(client, encode(sound()))
        assert answer["events"] == [] and answer["label"] == "computer" and answer["confidence"] < 0.3
        assert client.get("/v1/model").json()["card"]["handicaps"] == handicap["handicaps"]
    with serving(sentry=make_model(tmp_path / "easy", labels=("_negative", "computer")), judge=hard) as client:
        assert verify(client, encode(sound()))["events"] == []


def test_the_model_is_told_and_given(serving, folder, make_model, tmp_path):
    judge = make_model(tmp_path / "judge", key="judge-key")
    with serving(judge=judge) as client:
        told = client.get("/v1/model").json()
        given = client.get("/v1/model/streaming.onnx")
    assert told["words"] == ["hey robin"] and told["threshold"] == 0.6 and told["sample_rate"] == 16_000
    assert (
        told["hop_length"] == 160
        and "audio_tail" in told["streaming"]["states"]
        and told["judge"]["key"] == "judge-key"
    )
    assert told["limits"]["max_seconds"] == 30 and told["card"]["phrase"] == "hey robin"
    assert given.content == (folder / "model.streaming.onnx").read_bytes()
    with serving(sentry=judge) as client:
        assert client.get("/v1/model").json()["streaming"] is None
        missing = client.get("/v1/model/streaming.onnx")
        assert missing.status_code == 404 and missing.json()["code"] == "no_streaming_model"
