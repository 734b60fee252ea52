"""Settings of the server. None of them changes an artifact, so none is in a key."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from wakeword_core.config.base import Settings

Share = Annotated[float, Field(ge=0, le=1)]


class CascadeConfig(Settings):
    """A second, larger model (the judge) that is asked only where the first one (the sentry) heard the word."""

    judge: str | None = Field(None, description="Model of the judge, a file or its folder; null: the sentry decides.")
    sentry_threshold: Share | None = Field(None, description="Score from which the sentry calls; null: the model's.")
    judge_threshold: Share | None = Field(None, description="Score from which it is confirmed; null: the judge's own.")
    combine: Literal["judge", "mean", "least"] = Field(
        "judge", description="What is held against judge_threshold: the judge's score, or the mean or least of both."
    )
    before_seconds: float = Field(2.0, ge=0.1, le=10, description="Audio before the sentry's call that is judged.")
    after_seconds: float = Field(0.5, ge=0, le=5, description="Audio after it; a stream's event waits so long.")


class ServingConfig(Settings):
    """`wakeword serve`: where it listens, who may ask, and how much at once."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on; beyond this machine with a token.")
    port: int = Field(8765, ge=0, le=65_535, description="Port to listen on; 0: any that is free.")
    token_variable: str = Field(
        "WAKEWORD_TOKEN", pattern=r"^[A-Za-z_]\w*$", description="Environment variable that holds the bearer token."
    )
    allowed_hosts: tuple[str, ...] = Field(
        (), description="Names it may be addressed by; on loopback besides this machine's; elsewhere empty: any."
    )
    allowed_origins: tuple[str, ...] = Field(
        (), description="Web pages of other origins that may use it, as https://example.org; empty: none."
    )
    max_bytes: int = Field(8 * 2**20, ge=1_024, le=2**30, description="Largest upload.")
    max_seconds: float = Field(30.0, ge=0.5, le=600, description="Longest audio in an upload.")
    queue_length: int = Field(256, ge=1, le=10_000, description="Requests in work or waiting; a further one gets 429.")
    workers: int = Field(4, ge=1, le=64, description="Threads that decode and make features, and as many for streams.")
    threads: int = Field(1, ge=1, le=64, description="Threads of one run of a model.")
    batch_windows: int = Field(64, ge=1, le=4_096, description="Windows of all requests from which a run begins.")
    batch_wait_ms: float = Field(2.0, ge=0, le=100, description="How long a run waits for windows of others.")
    body_seconds: float = Field(15.0, gt=0, le=600, description="Time an upload may take.")
    answer_seconds: float = Field(30.0, gt=0, le=600, description="Time an answer may take after the upload.")
    max_streams: int = Field(32, ge=0, le=10_000, description="WebSocket streams at once.")
    stream_message_bytes: int = Field(2**18, ge=64, le=2**24, description="Largest message of a stream.")
    stream_idle_seconds: float = Field(30.0, gt=0, le=3_600, description="A stream that is silent so long is closed.")
    stream_speed: float = Field(
        4.0, ge=1, le=1_000, description="How many times faster than real time a stream is heard."
    )
    shutdown_seconds: int = Field(10, ge=1, le=600, description="Time that what is in work has to finish at the end.")
    cascade: CascadeConfig = CascadeConfig()

    @model_validator(mode="after")
    def _origins_are_origins(self) -> Self:
        wrong = [
            origin
            for origin in self.allowed_origins
            if not origin.startswith(("http://", "https://")) or origin.endswith("/")
        ]
        if wrong:
            raise ValueError(f"allowed_origins must be like https://example.org, not {wrong[0]!r}")
        return self
