"""Floor of tier 1: items and outputs are read, three compiled checks decided and counted; nothing is stored.

python floor_checks.py PROJECT
"""

from __future__ import annotations

import sys
from pathlib import Path

from judge import Work

if __name__ == "__main__":
    work = Work(Path(sys.argv[1]))
    for _, output in work.cases():
        work.check(output)
    work.tell()
