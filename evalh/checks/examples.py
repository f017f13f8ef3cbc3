"""One example for each built-in check: as YAML, as Python, an output for which it holds and one for which it does not.

The reference page shows the first two; a test builds all of them and applies them to the outputs.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Example(NamedTuple):
    """A check in both forms, and fields of an output (`reference` is the item's) that pass and fail it."""

    yaml: str
    python: str
    passes: dict[str, Any]
    fails: dict[str, Any]


def _text(yaml: str, python: str, passes: str, fails: str, reference: Any = None) -> Example:
    given = {} if reference is None else {"reference": reference}
    return Example(yaml, python, {"text": passes, **given}, {"text": fails, **given})


def _calls(yaml: str, python: str, passes: list[dict[str, Any]], fails: list[dict[str, Any]]) -> Example:
    return Example(yaml, python, {"tool_calls": passes}, {"tool_calls": fails})


_SCHEMA_YAML = """\
json-schema:
  schema:            # or the path of a file: `json-schema: answer.schema.json`
    type: object
    required: [answer]
    properties: {answer: {type: string}}"""
_SCHEMA_PYTHON = """\
checks.JSONSchema(
    {"type": "object", "required": ["answer"], "properties": {"answer": {"type": "string"}}}
)"""
_SHELL_YAML = """\
shell-command:
  command: ["{python}", "-m", "unittest", "-q", "test_answer"]
  filename: answer.py
  extract: python
  files:
    test_answer.py: |
      import unittest
      from answer import double
      class Test(unittest.TestCase):
          def test_double(self):
              self.assertEqual(double(21), 42)
  timeout_s: 20"""
_SHELL_PYTHON = '''\
checks.ShellCommand(
    ["{python}", "-m", "unittest", "-q", "test_answer"],
    filename="answer.py",
    extract="python",
    files={"test_answer.py": """import unittest
from answer import double
class Test(unittest.TestCase):
    def test_double(self):
        self.assertEqual(double(21), 42)
"""},
    timeout_s=20,
)'''

EXAMPLES: dict[str, Example] = {
    "equals": _text("equals: Paris", 'checks.Equals("Paris")', "Paris\n", "Lyon"),
    "contains": _text(
        "contains: {value: 30 days, ignore_case: true}", 'checks.Contains("30 days", ignore_case=True)', "Within 30 Days.", "Never."
    ),
    "contains-any": _text(
        "contains-any: [30 days, one month]", 'checks.ContainsAny(["30 days", "one month"])', "You have one month.", "You have a week."
    ),
    "contains-all": _text(
        "contains-all: [refund, receipt]",
        'checks.ContainsAll(["refund", "receipt"])',
        "A refund needs the receipt.",
        "A refund is possible.",
    ),
    "starts-with": _text("starts-with: 'Dear '", 'checks.StartsWith("Dear ")', "Dear customer, …", "Hey!"),
    "ends-with": _text("ends-with: Kind regards", 'checks.EndsWith("Kind regards")', "…\nKind regards", "Bye"),
    "regex": _text(r"regex: '\b30 days\b'", r'checks.Regex(r"\b30 days\b")', "within 30 days", "within 130 days"),
    "min-words": _text("min-words: 3", "checks.MinWords(3)", "yes, of course", "yes"),
    "max-words": _text(
        "max-words: 5\nblocking: false",
        "checks.MaxWords(5, blocking=False)",
        "Send it back to us.",
        "You may send it back to us at any time.",
    ),
    "min-chars": _text("min-chars: 10", "checks.MinChars(10)", "long enough", "short"),
    "max-chars": _text("max-chars: 10", "checks.MaxChars(10)", "short", "longer than that"),
    "refusal": _text(
        "not-refusal:", "checks.Refusal(negate=True)", "You can return it within 30 days.", "I’m sorry, but I can’t help with that."
    ),
    "numeric": _text(
        "numeric: {rel_tolerance: 0.01}",
        "checks.Numeric(rel_tolerance=0.01)",
        "So the speed is about 9.81 m/s.",
        "It is 12 m/s.",
        reference=9.8,
    ),
    "json-valid": _text("json-valid:", "checks.JSONValid()", '{"answer": 42}', "{answer: 42}"),
    "json-schema": _text(_SCHEMA_YAML, _SCHEMA_PYTHON, '{"answer": "yes"}', '{"answer": 1}'),
    "json-path": _text(
        "json-path: {path: '$.items[0].price', equals: 12.5, tolerance: 0.01}",
        'checks.JSONPath("$.items[0].price", equals=12.5, tolerance=0.01)',
        '{"items": [{"price": 12.5}]}',
        '{"items": [{"price": 15}]}',
    ),
    "pydantic-model": _text(
        "pydantic-model: evalh.records:Message",
        'checks.PydanticModel("evalh.records:Message")',
        '{"role": "user", "content": "hello"}',
        '{"role": "king", "content": "hello"}',
    ),
    "sql-valid": _text(
        "sql-valid: {dialect: duckdb, extract: true}",
        'checks.SQLValid("duckdb", extract=True)',
        "```sql\nselect name from customers where city = 'Rome';\n```",
        "select name from customers where city = ",
    ),
    "xml-valid": _text("xml-valid:", "checks.XMLValid()", "<a><b>1</b></a>", "<a><b>1</a></b>"),
    "html-valid": _text("html-valid:", "checks.HTMLValid()", "<p>One<p>Two <b>three</b>", "<div><b>one</div></b>"),
    "levenshtein": _text("levenshtein: 0.8", "checks.Levenshtein(0.8)", "colour", "farbe", reference="color"),
    "rouge-l": _text(
        "rouge-l: {threshold: 0.5, value: The cat sat on the mat.}",
        'checks.RougeL(0.5, "The cat sat on the mat.")',
        "The cat was on the mat.",
        "A dog ran away.",
    ),
    "bleu": _text("bleu: {threshold: 0.3}", "checks.Bleu(0.3)", "The cat is on the mat.", "A dog ran.", reference="The cat is on a mat."),
    "tool-called": _calls("tool-called: search", 'checks.ToolCalled("search")', [{"name": "search"}], [{"name": "book"}]),
    "tool-arguments": _calls(
        "tool-arguments: {tool: search, arguments: {city: Rome}, mode: subset}",
        'checks.ToolArguments("search", {"city": "Rome"}, mode="subset")',
        [{"name": "search", "arguments": {"city": "Rome", "limit": 5}}],
        [{"name": "search", "arguments": {"city": "Paris"}}],
    ),
    "tool-sequence": _calls(
        "tool-sequence: {tools: [search, book], mode: subsequence}",
        'checks.ToolSequence(["search", "book"], "subsequence")',
        [{"name": "search"}, {"name": "compare"}, {"name": "book"}],
        [{"name": "book"}, {"name": "search"}],
    ),
    "max-latency": Example("max-latency: 2000", "checks.MaxLatency(2000)", {"latency_ms": 350.0}, {"latency_ms": 4100.0}),
    "max-cost": Example("max-cost: 0.01", "checks.MaxCost(0.01)", {"cost_usd": 0.004}, {"cost_usd": 0.02}),
    "python-function": _text("python-function: 'builtins:str.isupper'", "checks.PythonFunction('builtins:str.isupper')", "STOP", "stop"),
    "shell-command": _text(
        _SHELL_YAML,
        _SHELL_PYTHON,
        "```python\ndef double(x):\n    return 2 * x\n```",
        "```python\ndef double(x):\n    return x\n```",
    ),
}
