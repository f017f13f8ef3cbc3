"""The contestants: `evalh run` itself, bare programs, floors; each gives what it cost and whether its counts are those that are known."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from engine.judge import Work
from engine.judge_server import marked
from engine.material import CONTAINED, PASS_AT, PATTERN, Known, cases
from engine.measure import Bench, Cost, Failed

HERE = Path(__file__).parent
EVALH = (sys.executable, "-m", "evalh")
STORED = """\
SELECT (SELECT count(*) FROM check_results WHERE run_id = r.run_id) AS results,
  (SELECT count(*) FROM verdicts WHERE run_id = r.run_id) AS verdicts,
  (SELECT count(*) FROM scores WHERE run_id = r.run_id AND score IS NOT NULL) AS items,
  (SELECT count(*) FROM check_results WHERE run_id = r.run_id AND status = 'pass' AND "check" = 'json-schema') AS schema,
  (SELECT count(*) FROM check_results WHERE run_id = r.run_id AND status = 'pass' AND "check" = 'regex') AS pattern,
  (SELECT count(*) FROM check_results WHERE run_id = r.run_id AND status = 'pass' AND "check" = 'contains') AS contained,
  (SELECT count(*) FROM verdicts WHERE run_id = r.run_id AND status = 'scored' AND raw_score >= {pass_at}) AS judge
FROM runs r WHERE r.run_id = '{run}'"""


def row(cost: Cost, **more: Any) -> dict[str, Any]:
    """A measurement as a row of the document."""
    return {"cpu_s": cost.cpu_s, "wall_s": cost.wall_s, "peak_mb": cost.peak_mb, **more}


def counted_row(cost: Cost, counts: dict[str, int], known: Known) -> dict[str, Any]:
    """A measurement, and whether what was counted is what is known of the material."""
    return row(cost, counts=counts, right={name: counts.get(name) for name in Known._fields} == known._asdict())


def evalh_run(bench: Bench, project: Path, suite: str, known: Known, store: Path) -> dict[str, Any]:
    """One `evalh run`, and afterwards (not measured) whether the rows in its store are the known ones."""
    cost = bench.measure([*EVALH, "run", suite, "--json", "--store", store], cwd=project)
    told = json.loads(cost.out)
    if told["status"] != "finished":
        raise Failed(f"the run ended {told['status']}")
    query = STORED.format(run=told["run"], pass_at=PASS_AT)
    (counts,) = json.loads(bench.measure([*EVALH, "sql", "--json", "--store", store, query], cwd=project).out)
    found = counted_row(cost, counts, known)
    whole = (counts["results"], counts["verdicts"]) == (3 * known.items, known.items if known.judge else 0)  # no row is there twice
    return found | {"right": found["right"] and whole, "from_ledger": told["tiers"]["judges"]["cached"]}


def program(bench: Bench, project: Path, name: str, known: Known, *arguments: str | int) -> dict[str, Any]:
    """One of the bare programs of this folder; it prints what it counted."""
    cost = bench.measure([sys.executable, HERE / f"{name}.py", project, *arguments], cwd=project)
    return counted_row(cost, json.loads(cost.out), known)


def write_rules(project: Path) -> None:
    """What the bare programs check, beside the project."""
    rules = {"pattern": PATTERN, "contained": CONTAINED, "pass_at": PASS_AT}
    (project / "rules.json").write_text(json.dumps(rules), encoding="utf-8")


def write_request(bench: Bench, project: Path) -> int:
    """Have `evalh run` ask about one item and keep its request as a template for the bare programs; the bytes of that request.

    So they send what evalh sends, whatever that is: only the code of the fence differs, and it is as long.
    """
    other = project.with_name(project.name + "-asked")
    shutil.copytree(project, other)
    with _Listener() as listener:
        settings = (other / "evalh.toml").read_text(encoding="utf-8").splitlines()
        moved = [f'base_url = "{listener.url}/v1"' if line.startswith("base_url") else line for line in settings]
        (other / "evalh.toml").write_text("\n".join(moved), encoding="utf-8")
        bench.measure([*EVALH, "run", "judged.yaml", "--limit", 1, "--json", "--store", other / "store.duckdb"], cwd=other)
    shutil.rmtree(other)
    if len(listener.bodies) != 1:
        raise Failed(f"evalh sent {len(listener.bodies)} requests for one item and one judge")
    sent = json.loads(listener.bodies[0])
    (project / "request.json").write_text(json.dumps(_template(sent)), encoding="utf-8")
    first = next(cases(1))
    again = json.dumps(Work(project).request(first.input, first.output))
    if json.loads(again.replace(nonce_in(json.loads(again)), nonce_in(sent))) != sent:
        raise Failed("the bare programs would not send what evalh sends")
    return len(listener.bodies[0])


def nonce_in(body: dict[str, Any]) -> str:
    """The code of the fence in a judge's messages: 16 characters behind the first label."""
    return str(body["messages"][1]["content"].partition("<<<INPUT ")[2][:16])


def _template(body: dict[str, Any]) -> dict[str, Any]:
    """The request with places for what differs from item to item."""
    first = next(cases(1))
    system, user = (message["content"] for message in body["messages"])
    nonce = nonce_in(body)
    for text, place in ((first.input, "{input}"), (first.output, "{output}"), (nonce, "{nonce}")):
        if text not in user:
            raise Failed(f"the judge's messages do not hold the {place[1:-1]} as it stands in the files")
        user = user.replace(text, place)
    settings = {name: value for name, value in body.items() if name != "messages"}
    return {"settings": settings, "messages": [system.replace(nonce, "{nonce}"), user]}


class _Listener:
    """A server in this process that keeps the bodies it is sent."""

    def __enter__(self) -> _Listener:
        self.bodies: list[bytes] = []
        bodies = self.bodies

        class Keep(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                bodies.append(body)
                answer = marked(self.path.encode(), body, None)
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Keep)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
