"""onnxruntime-web for the page, from the npm registry.

`python -m wakeword_core.serving.page.onnxruntime_web FOLDER` fetches it ahead of time, as for an image without a
network.
"""

import sys

from wakeword_core.npm import NpmPackage, main

MODULE = "ort.wasm.bundle.min.mjs"
PACKAGE = NpmPackage(
    name="onnxruntime-web",
    version="1.30.0",
    integrity="sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
    folder="dist",
    files={
        MODULE: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
        "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    },
)
"""The files of the package that the page loads."""

if __name__ == "__main__":
    sys.exit(main(PACKAGE, sys.argv[1:]))
