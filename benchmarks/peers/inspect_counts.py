"""The counts in an Inspect log, as the bare programs print them. Not part of what is measured."""

import json
import sys
from pathlib import Path

from inspect_ai.log import read_eval_log

(path,) = Path(sys.argv[1]).glob("*.eval")
counts = dict.fromkeys(("items", "schema", "pattern", "contained", "judge"), 0)
for sample in read_eval_log(str(path)).samples or []:
    counts["items"] += 1
    for name, value in (sample.scores or {})["checks"].value.items():
        counts[name] += int(value)
    counts["judge"] += (sample.scores or {})["model_graded_qa"].value == "C"
json.dump(counts, sys.stdout)
