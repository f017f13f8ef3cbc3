"""What the pytest plugin does once a session holds a suite: fetch, tell, close. Loaded only then."""

from __future__ import annotations

import fcntl
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from evalh.cli.common import interval
from evalh.config import Config, load_config, store_path
from evalh.errors import EvalhError
from evalh.fingerprints import content_hash
from evalh.opening import RunOptions
from evalh.pipeline import RunOutcome, close_run, run
from evalh.prepare import Prepared, prepare
from evalh.records import CheckResult
from evalh.release import gate_run
from evalh.store.runs import find_run
from evalh.store.store import Store
from evalh.suites.load import bind, load_suites
from evalh.suites.model import Suite
from evalh.summary import run_document
from evalh.tiers import Settled, test_outcome, test_result

_SEVERITY = {"pass": 0, "fail": 1, "error": 2}
SHOWN = 1500  # characters of an input or output in a failure


class ItemFailed(Exception):
    """An item that its checks or its panel fail; the text says all that is known."""


class SuiteSession:
    """One suite in one pytest session."""

    def __init__(self, suite: Suite, path: Path, config: Config, store: Store, shared: str | None) -> None:
        self.suite, self.path, self.config, self.store, self.shared = bind(suite, path), path, config, store, shared
        try:
            self.whole: Prepared = prepare(suite, config)
        except EvalhError as error:
            raise pytest.Collector.CollectError(str(error)) from None
        self.prepared = self.whole
        self.item_ids = [i.item_id for i in self.whole.items]
        self.outcome: RunOutcome | None = None
        self.failed: EvalhError | None = None  # why nothing could be fetched
        self._by_item: dict[str, list[Settled]] = {}
        self._tested: dict[str, dict[int, tuple[str | None, str]]] = {}  # test → output of its item → status and reason

    @property
    def key(self) -> str:
        return f"{self.path}::{self.suite.name}"

    @property
    def fetched(self) -> bool:
        return self.outcome is not None

    def fetch(self, selected: list[str]) -> None:
        """Outputs, checks and judge calls of the selected items, once per session (under xdist: once for all workers)."""
        if self.failed is not None:
            pytest.fail(str(self.failed), pytrace=False)
        if self.outcome is None:
            self.prepared = self.whole if len(selected) == len(self.item_ids) else prepare(self.suite, self.config, select=selected)
            try:
                self.outcome = self._run() if self.shared is None else self._run_once_for_all_workers()
            except EvalhError as error:  # a busy store is not waited for again by every test
                self.failed = error
                pytest.fail(str(error), pytrace=False)
            if self.outcome.status == "interrupted":
                raise KeyboardInterrupt
            self.adopt(self.outcome)
        if self.outcome.status != "finished":
            pytest.fail(f"the run stopped: {self._why_stopped()}", pytrace=False)

    def _why_stopped(self) -> str:
        assert self.outcome is not None
        if self.outcome.status == "over_budget":
            return f"${self.outcome.spending.spent_usd:.4f} are spent, and the next call might exceed `budget_usd`"
        return str(self.outcome.error)

    def adopt(self, outcome: RunOutcome) -> None:
        """Take a run as this session's, made here or by a worker."""
        self.outcome, self._by_item = outcome, {}
        for settled in outcome.settled:
            self._by_item.setdefault(settled.item.item_id, []).append(settled)

    def _run(self) -> RunOutcome:
        return run(self.prepared, self.store, RunOptions(leave_open=True))

    def _run_once_for_all_workers(self) -> RunOutcome:
        file = self.shared_file(str(self.shared))
        with _locked(file.with_suffix(".lock")):
            if not file.exists():
                file.write_bytes(pickle.dumps(self._run()))
            outcome: RunOutcome = pickle.loads(file.read_bytes())  # noqa: S301 — written by a worker of this very session
            return outcome

    def shared_file(self, uid: str) -> Path:
        folder = self.store.path.parent / "pytest"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{uid}.{content_hash(self.key)}.pickle"  # two files may hold a suite of one name

    def settled(self, item_id: str) -> list[Settled]:
        """Every output (or pair) of an item."""
        return self._by_item[item_id]

    def tested(self, test: str, place: int, error: BaseException | None) -> None:
        """Keep what a test said of one of its item's outputs."""
        self._tested.setdefault(test, {})[place] = test_outcome(error) if error is not None else ("pass", "")

    def judge(self, item_id: str) -> None:
        """Raise ItemFailed where checks or panel fail an output of the item; skip where one is unscored, which is neither."""
        outputs = self.settled(item_id)
        if any(map(self._fails, outputs)):
            raise ItemFailed(self.describe(item_id))
        unscored = next((s for s in outputs if s.route == "unscored"), None)
        if unscored is not None:
            pytest.skip(f"unscored: {unscored.why}")

    def _fails(self, settled: Settled) -> bool:
        panel = self.suite.panel
        has_mark = panel is not None and (
            panel.rule != "mean" or any(c.pass_at is not None for c in (self.prepared.rubric.criteria if self.prepared.rubric else ()))
        )
        failed = any(c.status == "fail" for c in settled.checks if c.blocking) or settled.route == "blocked"
        return settled.route == "no_output" or failed or (settled.route == "judged" and has_mark and (settled.score or 0.0) < 0.5)

    def describe(self, item_id: str) -> str:
        """Input, outputs, checks, verdicts and rationales of an item, as lines."""
        return "\n\n".join(self._described(settled) for settled in self.settled(item_id))

    def _described(self, settled: Settled) -> str:
        lines = [
            f"{settled.route}"
            + (f", score {settled.score:g}" if settled.score is not None else "")
            + (f": {settled.why}" if settled.why else "")
        ]
        lines += [
            "",
            "input",
            _cut(settled.item.input_text),
            "",
            f"output of {settled.output.system}",
            _cut(settled.output.text or str(settled.output.error)),
        ]
        if settled.against is not None:
            lines += ["", f"output of {settled.against.system}", _cut(settled.against.text)]
        lines += ["", "checks"] + [f"  {c.status:5} {c.check}" + (f": {c.reason}" if c.reason else "") for c in settled.checks]
        if settled.verdicts:
            lines += ["", "verdicts"]
        for v in settled.verdicts:
            said = v.unscored_reason if v.status == "unscored" else v.winner if v.kind == "pairwise" else f"{v.raw_score:g}"
            order = f" [{' | '.join(v.systems)}]" if v.kind == "pairwise" else ""
            lines.append(
                f"  {v.judge} {v.aspect}{order}: {'unscored: ' if v.status == 'unscored' else ''}{said}"
                + (f" — {v.rationale}" if v.rationale else "")
            )
        return "\n".join(_plain(line) for line in lines)

    def result_of(self, nodeid: str, item_id: str, test: str | None, report: pytest.TestReport) -> dict[str, Any]:
        """What the end of the session needs to know of one test, in plain types."""
        said = self._tested.pop(nodeid, {}) if report.when == "call" else {}
        if report.when == "setup" and report.failed:  # a fixture that fails says nothing of an output: it is undecided
            said = {place: ("error", _reason(report)) for place in range(len(self._by_item.get(item_id, ())))}
        return {
            "path": str(self.path), "suite": self.suite.name, "run": self.outcome.run_id if self.outcome else None,
            "nodeid": nodeid, "test": test, "item": item_id, "when": report.when, "said": sorted(said.items()),
            "shared": str(self.shared_file(self.shared)) if self.shared else None,
        }  # fmt: skip

    def close(self, notes: list[dict[str, Any]]) -> None:
        """Write the results of test functions and the scores; the run is finished then."""
        if self.outcome is None or self.outcome.status != "finished":
            return
        self.untested = self._untested(notes)
        close_run(self.prepared, self.store, self.outcome, self._results(notes), whole=not self.untested)

    def _results(self, notes: list[dict[str, Any]]) -> dict[tuple[str, int], list[CheckResult]]:
        """One result per test function and output: of a test that was run again the last, of one with parameters the worst."""
        functions = {t.name: t for t in self.suite.tests}
        last = {told["nodeid"]: told for told in notes if told["test"] in functions and told["when"] != "teardown"}
        worst: dict[tuple[str, str, int], tuple[str, str]] = {}
        for told in last.values():
            for place, (status, reason) in told["said"]:
                key = (told["test"], told["item"], place)
                if status is not None and _SEVERITY[status] >= _SEVERITY[worst.get(key, ("pass", ""))[0]]:
                    worst[key] = (status, reason)
        found: dict[tuple[str, int], list[CheckResult]] = {}
        for (test, item_id, place), (status, reason) in worst.items():
            found.setdefault((item_id, place), []).append(test_result(functions[test], status, reason))
        return found

    def _untested(self, notes: list[dict[str, Any]]) -> str | None:
        """Why the scores of the run lack a part, where they come from test functions too and not all of these ran (-k, -x)."""
        if self.prepared.rubric is not None or self.partial:  # a part of the items is looked at and decides nothing anyhow
            return None
        ran = {(told["test"], told["item"]) for told in notes}
        wanted = [(t.name, item) for t in self.suite.tests if not t.blocking for item in self._by_item]
        lacking = [name for name, item in wanted if (name, item) not in ran]
        return f"{len(lacking)} of {len(wanted)} tests did not run, {lacking[0]} among them" if lacking else None

    def summary(self) -> list[str]:
        """The lines of the terminal summary."""
        if self.outcome is None:
            return []
        if self.untested:
            return [f"run      {self.outcome.run_id}, not finished: {self.untested}", *self._gate_lines(), f"store    {self.store.path}"]
        if self.outcome.status != "finished":
            return [f"run {self.outcome.run_id} stopped: {self._why_stopped()}; repeat the command to go on"]
        document = run_document(self.store, find_run(self.store, self.outcome.run_id))
        tiers = document["tiers"]
        shown = interval(document["quality"])
        routes = ", ".join(f"{n} {route}" for route, n in sorted(document["routes"].items()))
        lines = [f"run      {document['run']}" + ("  (simulated judges)" if document["simulated"] else "")]
        lines += ["         a judge shares a family with the system (allowed by the suite)"] if document["allow_same_family"] else []
        gone = ", ".join(self.outcome.gone)
        lines += (
            [f"gone     {gone} stopped answering: what it was asked is unscored; `evalh run --retry-errors` asks again"] if gone else []
        )
        lines += [f"outputs  {routes}"]
        lines += [
            (
                f"judges   {tiers['judges']['asked']} asked, {tiers['judges']['cached']} from the ledger,"
                f" {tiers['judges']['unscored']} verdicts unscored"
            )
        ]
        lines += [f"{document['metric']}  {shown}", *self._gate_lines(), f"store    {self.store.path}"]
        return lines

    def _gate_lines(self) -> list[str]:
        if self.suite.gate is None:
            return []
        if self.partial:
            return [f"gate     not decided: {len(self.prepared.items)} of {len(self.item_ids)} items were selected"]
        if self.untested:
            return ["gate     not decided: a session that runs all tests goes on with this run"]
        decision = self.gate()
        return [f"gate     {decision.decision}", *(f"         {reason}" for reason in decision.reasons)]

    @property
    def partial(self) -> bool:
        return len(self.prepared.items) < len(self.item_ids)

    untested: str | None = None

    def gate(self) -> Any:
        if not hasattr(self, "_gate"):
            assert self.outcome is not None
            self._gate = gate_run(self.store, self.outcome.run_id)
        return self._gate


class Sessions:
    """All suites of one pytest session. `uid` names the session among xdist workers; None without xdist."""

    def __init__(self, store_at: str | None, uid: str | None) -> None:
        self.config = load_config()
        self.store = Store(store_path(store_at, self.config))
        self.uid = uid
        self.by_key: dict[str, SuiteSession] = {}
        self.notes: list[dict[str, Any]] = []

    def of(self, suite: Suite, path: Path) -> SuiteSession:
        mine = self.by_key.get(f"{path}::{suite.name}")
        if mine is None or mine.suite is not suite:
            mine = SuiteSession(suite, path, self.config, self.store, self.uid)
            self.by_key[mine.key] = mine
        return mine

    def note(self, told: dict[str, Any]) -> None:
        self.notes.append(told)

    def close(self) -> None:
        """Close every run, here or, under xdist, for the workers that made it."""
        self._adopt_runs_of_workers()
        for mine in self.by_key.values():
            mine.close([n for n in self.notes if n["suite"] == mine.suite.name and n["path"] == str(mine.path)])

    def _adopt_runs_of_workers(self) -> None:
        shared = {n["shared"]: n for n in self.notes if n["shared"] and n["run"]}
        for file, told in shared.items():
            suite = next(s for s in load_suites([Path(told["path"])]) if s.name == told["suite"])
            mine = self.of(suite, Path(told["path"]))
            outcome: RunOutcome = pickle.loads(Path(file).read_bytes())  # noqa: S301 — written by a worker of this very session
            selected = list(dict.fromkeys(s.item.item_id for s in outcome.settled))
            if 0 < len(selected) < len(mine.item_ids):
                mine.prepared = prepare(suite, self.config, select=selected)
            mine.adopt(outcome)
            Path(file).unlink()
            Path(file).with_suffix(".lock").unlink(missing_ok=True)

    @property
    def refuses(self) -> bool:
        """Whether a gate of the session does not say PASS."""
        return any(
            m.fetched and m.suite.gate is not None and (m.partial or m.untested or m.gate().decision != "PASS")
            for m in self.by_key.values()
        )

    def summary(self) -> Iterator[tuple[str, list[str]]]:
        for mine in self.by_key.values():
            lines = mine.summary()
            if lines:
                yield f"evalh: {mine.suite.name}", lines


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _reason(report: pytest.TestReport) -> str:
    crash: Any = getattr(report.longrepr, "reprcrash", None)
    return " ".join(str(crash.message if crash else report.longrepr).split())[:500]


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters)"


def _plain(line: str) -> str:
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in line)
