"""Freed memory that stays with the process while it trains."""

import ctypes
import subprocess
import sys

import pytest

FRESH_PAGES = """
import resource
from contextlib import nullcontext
from wakeword_core.training.memory import freed_memory_kept

def pages(context):
    with context:
        bytes(bytearray(20_000_000))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(20):
            bytearray(b"x") * 20_000_000
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1])

print(pages(nullcontext()), pages(freed_memory_kept()))
with freed_memory_kept():
    before = resident()
    bytearray(b"x") * 20_000_000
    kept = resident() - before
print(kept, resident() - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
def test_pages_are_mapped_once_and_given_back_at_the_end() -> None:
    done = subprocess.run([sys.executable, "-c", FRESH_PAGES], capture_output=True, text=True, timeout=60, check=True)
    (usual, mapped), (kept, left) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert mapped < usual / 5
    assert kept > 4_000 > 1_000 > left
