"""Settings of how results are computed. None of them changes a result, so none is in a key."""

from typing import Literal

from pydantic import Field

from wakeword_core.config.base import Settings


class ComputeConfig(Settings):
    """Devices, threads and memory: they change how long a build takes, not what it makes."""

    engine: Literal["local", "ray"] = Field(
        "local",
        description="What measures recordings, makes speech, packs shards, computes features and listens for mining: "
        "this machine, or a Ray cluster, of which all machines share the folders of the home and of the recordings.",
    )
    address: str = Field(
        "auto",
        pattern=r"^(auto|[^\s/:]+:[0-9]{1,5})$",
        description="The Ray cluster, as host:port of its head; auto: the one that this machine belongs to.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where features and training run.")
    threads: int = Field(0, ge=0, le=256, description="Threads that torch trains with; 0: all cores.")
    workers: int = Field(
        0,
        ge=0,
        le=256,
        description="Threads and processes that decode recordings, make synthetic speech and compute features on a "
        "CPU; 0: one a core.",
    )
    processes: int = Field(
        1, ge=1, le=64, description="Processes that share each batch of training; on CUDA each has a GPU of its own."
    )
    compile: Literal["auto", "on", "off"] = Field(
        "off", description="Compile the network with torch.compile; auto: on CUDA, where there is a compiler."
    )
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"] = Field(
        "default",
        description="What torch.compile spends its time on: little of it, fewer launches of small kernels, or the "
        "fastest of many kernels.",
    )
    cudnn_benchmark: bool = Field(
        False, description="On CUDA, try all algorithms for convolutions in training, and take the fastest."
    )
    rows: Literal["auto", "memory", "disk"] = Field(
        "auto",
        description="Where the rows of a training wait for their batches; auto: in memory, or on disk where they take "
        "more than memory_gb.",
    )
    memory_gb: float = Field(
        0, ge=0, le=1e6, description="GB of memory that the rows of a training may take; 0: half of the machine's."
    )
    batch_windows: int = Field(32, ge=1, le=65_536, description="Windows of features that a CPU core computes at once.")
    gpu_batch_windows: int = Field(4_096, ge=1, le=65_536, description="Windows of features computed at once on a GPU.")
    copies_gb: float = Field(
        100,
        gt=0,
        le=1e6,
        description="GB that local copies of sources by URL, and what is unpacked of data sets, may each take; more is "
        "refused.",
    )
    retries: int = Field(
        1, ge=0, le=10, description="How often a shard that failed, or a task of which a worker died, is tried again."
    )
