"""`wakeword export`: the files of a model that one kind of device or program takes."""

import json
from pathlib import Path

from wakeword_core.config.loading import load_config
from wakeword_core.export.targets import TargetName, export_target
from wakeword_core.registry.history import delivered_bundle
from wakeword_core.text import printable
from wakeword_pipeline.orchestration.home import ProjectOptions, require_own


def export_model(
    model: Path | None, target: TargetName, out: Path, options: ProjectOptions, *, force: bool, as_json: bool
) -> None:
    """Write the folder of a model, or of the champion of a home, and print what is in it."""
    if model is None:
        require_own(options.home)
        model = delivered_bundle(options.home, load_config(options.config, options.settings)).path
    names = export_target(model, target, out, force=force)
    if as_json:
        print(json.dumps({"target": target, "folder": str(out), "files": names}))
    else:
        print(printable(f"{out} holds {', '.join(names)}"))
