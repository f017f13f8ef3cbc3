"""A first suite: answers to customers about refunds. Runs under `pytest` and under `evalh run suites/`."""

import evalh
from evalh import checks

suite = evalh.Suite(
    name="refunds",
    description="Answers about refunds: short, and true to the policy.",
    golden="golden/refunds",
    # What is under test. Recorded outputs here; a function, a model, an endpoint or a command work the same way:
    #   system=my_function                                  sync or async, from the input to the answer
    #   system=evalh.Model("openai:NAME", name="bot", family="FAMILY")
    #   system=evalh.Endpoint("http://127.0.0.1:8000/v1", model="NAME", name="bot", family="FAMILY")
    #   system=evalh.Command(["python", "bot.py"])          JSON lines in and out
    system=evalh.Recorded("golden/refunds/outputs/v1.jsonl", version="v1"),
    # Tier 1: deterministic, free, first. An output that fails a blocking check never reaches a judge.
    checks=[
        checks.Regex(r"\b30 days\b", name="names the window"),
        checks.MaxWords(60),
        checks.Refusal(negate=True, name="does not refuse"),
    ],
    # Tier 2: judges of *other* families than the system. There is no default judge: name yours, set the key, uncomment.
    # panel=evalh.Panel(judges=["anthropic:NAME", "openai:NAME"], rubric="rubrics/helpful.md"),
    # Tier 3: a small probability sample for people to label (`evalh label export tasks.jsonl`).
    sampling=evalh.Sampling(labels=4, strategy="stratified", rubric="rubrics/helpful.md"),
    # What decides. Baselines are approved by hand: `evalh gate --approve RUN --as main`, then `baseline="main", margin=0.2`.
    gate=evalh.Gate(minimum=0.6),
)


@suite.test
def test_greets_the_customer(output):
    assert output.text.split()[0].rstrip(",!") in {"Hello", "Hi", "Dear", "Thanks"}
