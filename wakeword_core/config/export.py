"""Settings of the exported models."""

from typing import Literal

from pydantic import Field

from wakeword_core.config.base import Settings

Platform = Literal[
    "esp32_s3", "esp32_s3_psram", "rp2040", "nano_33_ble", "rpi_zero_2", "rpi_4", "rpi_5", "phone", "server"
]


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


class ExportConfig(Settings):
    """The files that are exported, and the device that they have to fit on."""

    onnx: OnnxConfig = OnnxConfig()
    int8: Int8Config = Int8Config()
    platform: Platform | None = Field(None, description="Device that the model has to fit on; null: any.")
