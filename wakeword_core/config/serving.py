"""Settings of the server. None of them changes an artifact, so none is in a key."""

from contextlib import suppress
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from wakeword_core.config.base import Settings

Share = Annotated[float, Field(ge=0, le=1)]
Device = Literal["cpu", "cuda"]

CAPTURE_SOUND, CAPTURE_FACTS = ".flac", ".json"
"""How the two files of a capture end."""


class CascadeConfig(Settings):
    """A second, larger model (the judge) that is asked only where the first one (the sentry) heard the word."""

    judge: str | None = Field(None, description="Model of the judge, a file or its folder; null: the sentry decides.")
    sentry_threshold: Share | None = Field(
        None, description="Score from which the sentry calls the judge; null: the model's own."
    )
    judge_threshold: Share | None = Field(
        None, description="Score from which the judge confirms; null: the model's own."
    )
    combine: Literal["judge", "mean", "least"] = Field(
        "judge", description="What is compared with judge_threshold: the judge's score, or the mean or least of both."
    )
    before_seconds: float = Field(2.0, ge=0.1, le=10, description="Audio before the sentry's call that is judged.")
    after_seconds: float = Field(
        0.5, ge=0, le=5, description="Audio after it that is judged; events of a stream come so much later."
    )


class KeepConfig(Settings):
    """What `serve` and `listen` keep of what they hear, where somebody wants that."""

    folder: str | None = Field(
        None,
        description="Folder for the sound around wake words, and around what nearly was one; null: none.",
    )
    near: Share = Field(0.5, description="What comes so near the threshold, as a share of it, nearly was a wake word.")
    before_seconds: float = Field(3.0, ge=0.5, le=30, description="Sound that is kept before it.")
    after_seconds: float = Field(1.0, ge=0.5, le=10, description="Sound that is kept after it.")
    max_mb: float = Field(500.0, ge=1, le=1_000_000, description="Of more sound, the oldest is deleted.")
    max_days: float = Field(30.0, gt=0, le=3_650, description="What is older is deleted.")
    max_an_hour: int = Field(
        60,
        ge=1,
        le=3_600,
        description="Further ones of an hour are not kept; near misses may be half of them.",
    )


class ServingConfig(Settings):
    """`wakeword serve`: where it listens, who may ask, and how much at once."""

    http: bool = Field(True, description="Answer over HTTP and WebSockets.")
    host: str = Field(
        "127.0.0.1", min_length=1, description="Address to listen on; others than this machine's need a token."
    )
    port: int = Field(8765, ge=0, le=65_535, description="Port to listen on; 0: any that is free.")
    wyoming: str | None = Field(
        None, description="Address for clients of the Wyoming protocol, such as tcp://127.0.0.1:10400; null: none."
    )
    languages: tuple[str, ...] = Field(("en",), description="Languages of the wake words, as Wyoming clients are told.")
    sensitivity: str | None = Field(
        None,
        description="Operating point of the models that listen: strict, balanced or lenient; null: each model's own. "
        "A judge has its own, or cascade.judge_threshold.",
    )
    device: Device = Field("cpu", description="Where models run; on the CPU where onnxruntime finds no CUDA.")
    token_variable: str = Field(
        "WAKEWORD_TOKEN", pattern=r"^[A-Za-z_]\w*$", description="Environment variable that holds the bearer token."
    )
    allowed_hosts: tuple[str, ...] = Field(
        (), description="Host names it answers to, on loopback besides this machine's; elsewhere empty: any."
    )
    allowed_origins: tuple[str, ...] = Field(
        (), description="Other origins whose pages may use it, such as https://example.org; empty: none."
    )
    access_log: bool = Field(False, description="A line of JSON for each request on the standard output.")
    max_bytes: int = Field(8 * 2**20, ge=1_024, le=2**30, description="Largest upload.")
    max_seconds: float = Field(30.0, ge=0.5, le=600, description="Longest audio in an upload.")
    queue_length: int = Field(
        256, ge=1, le=10_000, description="Most requests in work or waiting; further ones get 429."
    )
    workers: int = Field(4, ge=1, le=64, description="Threads for uploads, and as many again for streams.")
    threads: int = Field(1, ge=1, le=64, description="Threads of one run of a model.")
    batch_windows: int = Field(64, ge=1, le=4_096, description="A run of the model begins when so many windows wait.")
    batch_wait_ms: float = Field(2.0, ge=0, le=100, description="How long a run waits for windows of other requests.")
    body_seconds: float = Field(15.0, gt=0, le=600, description="Longest time for an upload.")
    answer_seconds: float = Field(30.0, gt=0, le=600, description="Longest time for an answer after the upload.")
    max_streams: int = Field(
        32, ge=0, le=10_000, description="Most streams at once, of WebSockets and Wyoming clients."
    )
    stream_message_bytes: int = Field(2**18, ge=64, le=2**24, description="Largest message of a stream.")
    stream_idle_seconds: float = Field(
        30.0, gt=0, le=3_600, description="A stream in which nothing comes for so long is closed."
    )
    stream_speed: float = Field(
        4.0, ge=1, le=1_000, description="How many times faster than real time a stream may be."
    )
    shutdown_seconds: int = Field(
        10, ge=1, le=600, description="Time for open requests to finish when the server stops."
    )
    follow_champion: bool = Field(
        False, description="Serve the champion of the home, and the next one as soon as another model is champion."
    )
    follow_seconds: float = Field(
        5.0, ge=0.1, le=3_600, description="Time from one look at who is champion to the next, with follow_champion."
    )
    cascade: CascadeConfig = CascadeConfig()
    keep: KeepConfig = KeepConfig()

    @field_validator("wyoming")
    @classmethod
    def _an_address(cls, address: str | None) -> str | None:
        if address is not None:
            tcp_address(address)
        return address

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

    @model_validator(mode="after")
    def _something_is_served(self) -> Self:
        if not self.http and self.wyoming is None:
            raise ValueError("nothing is served without HTTP: give an address for Wyoming clients (--wyoming)")
        return self


def tcp_address(address: str) -> tuple[str, int]:
    """Return host and port of an address such as tcp://127.0.0.1:10400; ValueError for any other."""
    with suppress(ValueError):  # of a port that is no number, or a host that cannot be
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
        if host is not None and port is not None and address == f"tcp://{parts.netloc}" and "@" not in address:
            return host, port
    raise ValueError(f"an address for Wyoming clients is like tcp://127.0.0.1:10400, not {address[:100]!r}")
