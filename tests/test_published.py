"""Every published number of the recorded data that a command can give comes out of that command (DESIGN §10).

The table is the data's own `published.json`: each entry is looked up in what `--json` printed, and an entry that no command
gives stands in `NO_COMMAND` with its reason. A number is what `recomputed` says, to its digits, and after rounding what was
published; where the two differ in the origin (status `differs`, with the explanation in the set's README) the rows count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Done, shared_data

Evalh = Callable[..., Done]
Found = Callable[[str], float | None]

NO_COMMAND = {
    "contamination_gpt35": [
        (r".*\|judge_(near_)?exact_count", "counts of one data set partition: the audit knows no partitions"),
        (r".*\|bootstrap_p", "a test of contamination"),
        (r"partition_accuracy_.*|overall\|contaminated_.*", "the rule that a partition is contaminated"),
        (r"overall\|kappa_annotators_without_normalising_case", "the files hold the normalised labels"),
    ],
    "alpacaeval": [
        (r".* -> .*", "two judges on the same outputs: a comparison, not a ranking"),
        (r".*\|glm_weight_.*", "weights, which go in and do not come out"),
        (r".*\|alpaca_eval_gpt4\|length_controlled_winrate", "the weights of this judge were never published"),
    ],
}


@pytest.fixture
def stored(evalh: Evalh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Callable[..., Any]]:
    """Imports a data set and gives `--json` of commands on it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVALH_STORE", raising=False)

    def of(name: str) -> Callable[..., Any]:
        done = evalh("import", shared_data(name), "--json")
        assert done.code == 0, done.err
        known: dict[tuple[str, ...], Any] = {}

        def call(*args: str) -> Any:
            if args not in known:
                said = evalh(*args, "--json")
                assert said.code == 0, said.err
                known[args] = said.json
            return known[args]

        return call

    return of


def published(name: str) -> dict[str, Any]:
    table: dict[str, Any] = json.loads((shared_data(name) / "published.json").read_text(encoding="utf-8"))
    return table


def check_all(name: str, found: Found) -> int:
    """Every entry is found and equal, or excused by name; how many were equal."""
    wrong, equal = [], 0
    for key, entry in published(name).items():
        if any(re.fullmatch(pattern, key) for pattern, _ in NO_COMMAND.get(name, [])):
            continue
        ours = found(key)
        fault = "not found" if ours is None else problem(ours, entry)
        equal += fault is None
        wrong += [f"{key}: {fault}"] if fault else []
    assert wrong == []
    return equal


def problem(ours: float, entry: dict[str, Any]) -> str | None:
    """Why a number is not the one of the table, or None."""
    recomputed = entry.get("recomputed", entry["value"])
    digits = len(repr(recomputed).partition(".")[2]) if isinstance(recomputed, float) else 6
    if abs(ours - recomputed) > 0.51 * 10 ** -min(digits, 6) + 1e-9:
        return f"{ours!r}, recomputed {recomputed!r}"
    if str(entry.get("status", "")).startswith("equal after rounding"):
        places = len(repr(entry["value"]).partition(".")[2])
        if abs(round(ours, places) - entry["value"]) > 1e-9:
            return f"{ours!r} does not round to {entry['value']!r}"
    return None


def judges(document: Any, **parts: str) -> list[Any]:
    return [j for j in document["judges"] if all(j[name] == value for name, value in parts.items())]


# ---- verdicts -------------------------------------------------------------------------------------------------------


def test_pandalm(stored: Callable[[str], Callable[..., Any]]) -> None:
    """Kappas of annotators, accuracy and macro scores with unread verdicts as ties, as wrong, and left out."""
    call = stored("pandalm")
    loose, tie = call("audit"), call("audit", "--unscored", "tie")
    consensus = loose["labels"]["consensus"]
    kappas = {f"{p['a']}_{p['b']}": p["kappa"] for p in loose["annotators"]["pairs"]}

    def found(key: str) -> float | None:
        if key.startswith("cohen_kappa_"):
            return kappas.get(key.removeprefix("cohen_kappa_"))
        if key.startswith("majority_label_count_"):
            return consensus.get(key.removeprefix("majority_label_count_"))
        judge, _, figure = key.partition("_")
        (one,), (plain,) = judges(tie, judge=judge), judges(loose, judge=judge)
        percent = {
            "accuracy": one["agreement"], **{f"macro_{name}": value for name, value in one["macro"].items()},
            "accuracy_garbage_is_wrong": plain["agreement_strict"], "accuracy_garbage_dropped": plain["agreement"],
        }  # fmt: skip
        return 100 * percent[figure] if figure in percent else {"cohen_kappa_vs_majority": one["kappa"]}.get(figure)

    assert check_all("pandalm", found) == 18


def test_mtbench_pairs(stored: Callable[[str], Callable[..., Any]]) -> None:
    """Accuracy over both orders, an unread verdict being wrong; and the same winner in both, two unread ones being the same."""
    call = stored("mtbench_pairs")
    loose, tie = call("audit"), call("audit", "--unscored", "tie")

    def found(key: str) -> float | None:
        _, judge, prompt, figure = key.split("|")
        if figure == "accuracy_average":
            return 100 * judges(loose, judge=judge, prompt=prompt)[0]["agreement_strict"]
        return 100 * judges(tie, judge=judge, prompt=prompt)[0]["position"]["consistency"]

    assert check_all("mtbench_pairs", found) == 16


def test_posbias_mtbench(stored: Callable[[str], Callable[..., Any]]) -> None:
    """Consistency of nine judges in three repetitions, in the origin's way of counting and in the plain one; and their stability."""
    document = stored("posbias_mtbench")("audit")

    def found(key: str) -> float | None:
        parts = key.split("|")
        (judge,) = judges(document, judge=parts[0])
        if parts[1] == "repetition_stability":
            return float(judge["repeat_modal"])
        (repeat,) = (r for r in judge["position"]["repeats"] if f"repeat{r['repeat']}" == parts[1])
        return 100 * repeat["consistency_by_verdict" if parts[2] == "consistent_percent" else "consistency"]

    assert check_all("posbias_mtbench", found) == 63


def test_topicalchat_scores(stored: Callable[[str], Callable[..., Any]]) -> None:
    """Pearson, Spearman, and Kendall within contexts, of three prompts on four aspects."""
    document = stored("topicalchat_scores")("audit")
    named = {"kendall_tau_b_per_context": "kendall_within_item"}

    def found(key: str) -> float | None:
        prompt, aspect, figure = key.split("|")
        (judge,) = judges(document, prompt=prompt)
        (row,) = (r for r in judge["scores"] if r["aspect"] == aspect)
        value: float | None = row[named.get(figure, figure)]["value"]
        return value

    assert check_all("topicalchat_scores", found) == 36


def test_contamination_gpt35(stored: Callable[[str], Callable[..., Any]]) -> None:
    """96 % of verdicts agree with people, and kappa says that this is nothing."""
    document = stored("contamination_gpt35")("audit")
    (judge,) = judges(document, judge="gpt-4 (in-context classifier)")
    (pair,) = document["annotators"]["pairs"]
    known = {
        "overall|rows": judge["n_verdicts"],
        "overall|judge_vs_annotator1_agree": round(judge["agreement"] * judge["agreement_estimate"]["n"], 9),
        "overall|kappa_judge_annotator1": judge["kappa"],
        "overall|kappa_annotators": pair["kappa"],
    }
    assert check_all("contamination_gpt35", known.get) == 4
    assert judge["verdict_on_judge"] == "no better than chance"


@pytest.mark.parametrize(("name", "aspects"), [("human_newsroom", 4), ("human_recipes", 6)])
def test_alpha_of_people(name: str, aspects: int, stored: Callable[[str], Callable[..., Any]]) -> None:
    """Krippendorff's ordinal alpha of every aspect, from labels alone."""
    document = stored(name)("audit")
    assert document["judges"] == []
    alphas = {f"{row['aspect']}|krippendorff_alpha_ordinal": row["ordinal"] for row in document["annotators"]["aspects"]}
    assert check_all(name, alphas.get) == aspects


# ---- rankings -------------------------------------------------------------------------------------------------------


def weights_of(name: str, judge: str, to: Path) -> Path:
    """The published weights of a judge as the file that AlpacaEval keeps them in."""
    rows: dict[str, dict[str, float]] = {}
    for key, entry in published(name).items():
        if f"|{judge}|glm_weight_" in key:
            rows.setdefault(key.split("|")[0], {})[key.rpartition("glm_weight_")[2]] = entry["value"]
    head = ",np.tanh(std_delta_len),instruction_difficulty,not_gamed_baseline.astype(float)"
    lines = [f"{system},{w['tanh_std_delta_len']!r},{w['instruction_difficulty']!r},{w['bias']!r}" for system, w in rows.items()]
    to.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return to


def test_alpacaeval(stored: Callable[[str], Callable[..., Any]], tmp_path: Path) -> None:
    """Win rates, their standard errors, discrete and length-controlled win rates, as `evalh rank` gives them."""
    call, judge = stored("alpacaeval"), "weighted_alpaca_eval_gpt4_turbo"
    weights = weights_of("alpacaeval", judge, tmp_path / "weights.csv")
    document = call("rank", "alpacaeval", "--length-controlled", "--weights", f"{judge}={weights}")
    named = {
        "win_rate": "win_rate", "standard_error": "win_rate_se", "discrete_win_rate": "discrete_win_rate", "n_total": "n",
        "length_controlled_winrate": "length_controlled_win_rate",
    }  # fmt: skip

    def found(key: str) -> float | None:
        system, by, figure = key.split("|")
        (one,) = judges(document, judge=by)
        rows = [r for r in one["systems"] if r["system"] in (system, f"{system}@{by}")]
        value: float | None = rows[0][named[figure]] if len(rows) == 1 else None
        return value

    assert check_all("alpacaeval", found) == 88
    assert all(judge["position"] is None for judge in call("audit")["judges"])
