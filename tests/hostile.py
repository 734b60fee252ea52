"""A working directory in which somebody left modules that have the names of others, and a file of variables."""

from pathlib import Path

_NAMES = (
    "dagster", "dagster_shared", "grpc", "mlflow", "multiprocessing", "numpy", "onnx", "pickle", "psutil", "pyarrow",
    "rich", "soundfile", "sqlalchemy", "toposort", "torch", "typer", "yaml",
)  # fmt: skip


def hostile_folder(folder: Path) -> Path:
    """Make the folder; `ran_in` tells later which of its modules were run."""
    folder.mkdir()
    for name in _NAMES:
        ran = f"open({str(folder / 'ran')!r}, 'a').write({name!r} + '\\n')\n"
        (folder / f"{name}.py").write_text(f"{ran}raise ImportError({name!r} + ' of the working directory')\n")
    (folder / ".env").write_text(f"PYTHONPATH={folder}\n")
    return folder


def ran_in(folder: Path) -> set[str]:
    ran = folder / "ran"
    return set(ran.read_text().split()) if ran.exists() else set()
