"""Settings of the exported models."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from wakeword_core.config.base import LANGUAGE_TAG, Settings

Platform = Literal[
    "esp32_s3", "esp32_s3_psram", "rp2040", "nano_33_ble", "rpi_zero_2", "rpi_4", "rpi_5", "phone", "server"
]


_LANGUAGES = """
aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo es et
eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk
kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny
oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk
tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
"""
"""Tags of two letters, from ISO 639-1."""


class OnnxConfig(Settings):
    """The exported model."""

    opset: int = Field(18, ge=17, le=23, description="ONNX operator set.")
    parity_tolerance: float = Field(
        1e-4, gt=0, le=1e-2, description="Largest difference between ONNX and torch scores."
    )


class Int8Config(Settings):
    """The exported model in 8-bit integers; the limits choose among several ways of quantizing it."""

    calibration_windows: int = Field(512, ge=8, le=100_000, description="Training windows that set INT8 ranges.")
    max_ratio: float = Field(0.35, gt=0, le=1, description="Largest INT8 size as a share of fp32.")
    max_f1_drop: float = Field(
        0.01, ge=0, le=1, description="Largest loss of F1 on the test split, in INT8 and in float16."
    )


class TfliteConfig(Settings):
    """The model in 8-bit integers for microcontrollers with ESPHome, and what its manifest says of it."""

    enabled: bool = Field(
        False,
        description="Whether there is such a model; it needs features.frontend.kind micro, and arch mixednet or a "
        "causal ds_cnn.",
    )
    calibration_windows: int = Field(512, ge=8, le=100_000, description="Training windows that set its ranges.")
    max_difference: float = Field(
        0.01, gt=0, le=1, description="Largest mean difference of its scores from those of the network it is made from."
    )
    min_agreement: float = Field(
        0.995, gt=0, le=1, description="Least share of its scores on the same side of the threshold as that network's."
    )
    languages: tuple[Annotated[str, Field(pattern=LANGUAGE_TAG)], ...] = Field(
        ("en",), min_length=1, max_length=20, description="Languages that the wake word is spoken in, such as en."
    )
    author: str = Field("unknown", min_length=1, max_length=80, description="Who made it.")
    licence: str = Field("", max_length=40, description="Its licence, as an SPDX name; stands beside the author.")
    website: str = Field("", pattern=r"^$|^https?://\S+$", max_length=200, description="Where there is more about it.")

    @field_validator("languages")
    @classmethod
    def _known(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        for language in languages:
            first = language.partition("-")[0]
            if len(first) == 2 and first not in _LANGUAGES.split():
                raise ValueError(f"{language!r} is no language of ISO 639-1, such as en or pt-br")
        return languages


class OpenWakeWordConfig(Settings):
    """The heads of a judge by themselves, in openWakeWord's format; see `judge.rows` and `judge.head`."""

    enabled: bool = Field(False, description="Whether there is such a model for each wake word (extra `judge`).")
    max_difference: float = Field(
        1e-5, gt=0, le=1e-2, description="Largest difference of its scores from torch's in the runtimes that run it."
    )


class TorchConfig(Settings):
    """The model as a program of torch.export, for Python programs that have torch."""

    enabled: bool = Field(False, description="Whether there is such a program.")


class ExportConfig(Settings):
    """The files that are exported, and the device that they have to fit on."""

    onnx: OnnxConfig = OnnxConfig()
    int8: Int8Config = Int8Config()
    tflite: TfliteConfig = TfliteConfig()
    openwakeword: OpenWakeWordConfig = OpenWakeWordConfig()
    torch: TorchConfig = TorchConfig()
    platform: Platform | None = Field(None, description="Device that the model has to fit on; null: any.")
