"""`python -m wakeword_pipeline.cli`."""

import os
import sys

# `python -m` looks in the working directory first, where anything may lie; only a checkout of this project may be used.
if not sys.flags.safe_path and sys.path[0] != os.path.abspath(f"{__file__}/../../.."):
    del sys.path[0]

from wakeword_pipeline.cli.main import main

if __name__ == "__main__":
    main()
