"""The answers of the server, as classes that its client uses too."""

from typing import Any, Literal

from pydantic import BaseModel, Field

DecidedBy = Literal["sentry", "judge"]


class Event(BaseModel):
    """A wake word that was heard and, where there is a judge, confirmed."""

    word: str
    time: float = Field(description="Seconds from the beginning of the audio.")
    score: float = Field(description="The score that was compared with the threshold.", ge=0, le=1)


class Verdict(BaseModel):
    """Whether a wake word is in the audio."""

    prediction: bool = Field(description="Whether there is one, that is, whether the confidence reaches the threshold.")
    confidence: float = Field(description="The highest threshold at which there would be one.", ge=0, le=1)
    label: str = Field(description="The likeliest wake word.")
    threshold: float = Field(description="Threshold of the model that decided.")
    decided_by: DecidedBy = Field(
        description="The model that decided: only the sentry can say no by itself, and with a judge only the judge yes."
    )
    sentry_score: float = Field(description="The sentry's highest score in the audio.", ge=0, le=1)
    judge_score: float | None = Field(
        description="The judge's score where it was called; null where it was not.", ge=0, le=1
    )
    events: list[Event]
    hint: str | None = Field(
        None, description="What is wrong with the sound itself, such as far too little of it; null where nothing is."
    )
    seconds: float = Field(description="Length of the audio.", ge=0)
    timings_ms: dict[str, float] = Field(description="Milliseconds of each step: queue, decode, sentry, judge.")
    model: str = Field(description="Key of the model that decided.")


class Judge(BaseModel):
    """The second model of a cascade, and which audio it judges."""

    key: str
    threshold: float
    combine: str
    before_seconds: float
    after_seconds: float


class Limits(BaseModel):
    """Limits of uploads and streams."""

    max_bytes: int
    max_seconds: float
    stream_message_bytes: int
    stream_speed: float


class ModelAnswer(BaseModel):
    """The model that listens."""

    key: str = Field(description="Key of the artifact that the model was exported as.")
    phrase: str
    words: list[str] = Field(description="The wake words; scores have a column for each, after that of all else.")
    sample_rate: int
    threshold: float
    hop_length: int = Field(description="Samples from one frame to the next.")
    stride_frames: int = Field(description="Frames from one score to the next.")
    streaming: dict[str, Any] | None = Field(
        description="How to run /v1/model/streaming.onnx: `states` names its inputs besides `audio`; null without one."
    )
    judge: Judge | None
    keeps: bool = Field(False, description="Whether the server keeps the sound around wake words and near misses.")
    limits: Limits
    card: dict[str, Any] = Field(description="The description that the runtime reads in the model file.")
    model_card: dict[str, Any] | None = Field(
        None, description="The model card in the file: data, metrics, limits, lineage; null in one that is no bundle's."
    )


class State(BaseModel):
    """The server answers."""

    status: Literal["ok"] = "ok"


class Problem(BaseModel):
    """Why a request was refused."""

    type: str = Field("about:blank", description="Always about:blank: `code` says which problem it is.")
    title: str = Field(description="The status in words.")
    status: int
    code: str = Field(description="Which problem it is, for programs.")
    detail: str = Field(description="What is wrong and what to do, as a sentence.")
