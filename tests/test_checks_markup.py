"""Well-formedness of SQL, XML and HTML, for well-meant and for hostile outputs."""

from __future__ import annotations

import time

import pytest

from evalh import checks
from evalh.errors import InputError
from tests.checks_support import compiled, row, status


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT a, count(*) FROM t WHERE x > 1 GROUP BY a;", "pass"),
        ("WITH a AS (SELECT 1) SELECT * FROM a; DELETE FROM t", "pass"),
        ("CREATE TABLE t (a INT)", "pass"),
        ("DROP TABLE t", "pass"),
        ("VALUES (1, 2)", "pass"),
        ("hello world", "fail"),
        ("hello", "fail"),
        ("42", "fail"),
        ("", "fail"),
        ("-- only a comment", "fail"),
        (";;", "fail"),
        ("Here is the query: SELECT 1", "fail"),
        ("SELECT 1; hello", "fail"),
        ("SELECT * FROM", "fail"),
        ("SELECT a FROM t WHERE", "fail"),
        ("SELECT (1", "fail"),
        ("SELECT 'a", "fail"),
        ("I'm sorry", "fail"),
        ("```sql\nSELECT 1\n```", "fail"),
        ("EXPLAIN SELECT 1", "error"),
        ("CREATE TABL t (a INT)", "error"),
        ("SELECT " + "(" * 5000 + "1" + ")" * 5000, "error"),
        ("SELECT " + "NOT " * 20_000 + "1", "error"),
        ("SELECT " + "1," * 600_000 + "1", "error"),
    ],
)
def test_sql_is_parsed_as_statements(text, expected) -> None:
    """One statement or more that parse; prose and bare expressions fail, what the parser does not judge is an error."""
    assert status(checks.SQLValid(), text) == expected


def test_sql_dialects_and_blocks() -> None:
    """A dialect is chosen by its name, an unknown one is bad input, and a fenced block can be taken out."""
    assert status(checks.SQLValid("bigquery"), "SELECT * EXCEPT (a) FROM `p.d.t`") == "pass"
    assert status(checks.SQLValid("postgres"), "SELECT `a` FROM t") == "fail"
    assert status(checks.SQLValid(extract=True), "Sure:\n```sql\nSELECT 1\n```") == "pass"
    assert status(checks.SQLValid(extract=True), "SELECT 1") == "pass"
    assert row(checks.SQLValid(), "SELECT 1,\n2 SELECT 3").reason == "line 2, column 8: Invalid expression / Unexpected token"
    with pytest.raises(InputError, match=r"check `sql-valid`, dialect: Unknown dialect 'postgress'. Did you mean postgres"):
        compiled(checks.SQLValid("postgress"))


BOMB = "<!DOCTYPE a [" + "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "ha"}">' for n in range(10)) + "]><a>&e9;</a>"


@pytest.mark.parametrize(
    ("text", "expected", "reason"),
    [
        ('<?xml version="1.0" encoding="UTF-16"?>\n<a b="c"><d/>é &amp; &#x41;</a>', "pass", ""),
        ("<a xmlns:x='urn:x'><x:b/></a>", "pass", ""),
        ("<a><b></a>", "fail", "line 1, column 9: mismatched tag"),
        ("<a b=c/>", "fail", "not well-formed"),
        ("<a/><b/>", "fail", "junk after document element"),
        ("<a>&nbsp;</a>", "fail", "undefined entity"),
        ("<a>", "fail", "no element found"),
        ("text", "fail", "syntax error"),
        ("", "fail", "is empty"),
        ("<a>\ud800</a>", "fail", "surrogate"),
        ("<a>\x00</a>", "fail", "not well-formed"),
        (BOMB, "fail", "EntitiesForbidden"),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', "fail", "EntitiesForbidden"),
        ("<a>" * 100_000 + "</a>" * 100_000, "pass", ""),
        ("<a>" + "<b/>" * 240_000 + "</a>", "pass", ""),
        ("<a>" + "x" * 1_000_000 + "</a>", "error", "more than max_chars 1,000,000"),
    ],
)
def test_xml_is_well_formed_or_not(text, expected, reason) -> None:
    """A document by the XML standard; entities are refused, and depth or size crash nothing."""
    result = row(checks.XMLValid(), text)
    assert result.status == expected
    assert reason in result.reason


PAGE = "<!DOCTYPE html><html lang=en><head><title>x</title></head><body>{}</body></html>"


@pytest.mark.parametrize(
    "text",
    [
        PAGE.format("<main><section><p>one<p>two<br/><img src=x alt=''></section></main>"),
        "<ul><li>a<li>b</ul>",
        "<table><tr><td>a<td>b</table>",
        "<my-element data-x=1></my-element><details><summary>x</summary></details>",
        "<svg viewBox='0 0 1 1'><path d='M0'/></svg><math><mi>x</mi></math>",
        "<template><tr><td>x</td></tr></template><p>x</p>",
        "<select><option>a</option><hr><option>b</option></select>",
        "<p>AT&T & co, &nbsp;&amp;</p><a href='?a=1&copy=2&section=3&b'>x</a>",
        "<!-- a -- b --><p>x</p>",
        "<script>if (a < b && c) { '<b>' }</script><style>a > b {}</style>",
    ],
)
def test_modern_html_is_well_formed(text) -> None:
    """What the HTML standard of today allows passes: implied end tags, new and own elements, bare ampersands."""
    assert row(checks.HTMLValid(), text).reason == "is well-formed HTML"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<div>", "expected closing tag but got eof"),
        ("<p><b>x</p>", "unexpected end tag <p>"),
        ("<b><i>x</b></i>", "adoption agency"),
        ("x</span><i>x</i>", "unexpected end tag <span>"),
        ("<a href=a href=b>x</a>", "duplicate attribute"),
        ("<div/>", "non void element with trailing solidus <div>"),
        ("<p>&foo; &copy </p>", "expected named entity"),
        ("<p>&copy 2026</p>", "named entity without semicolon"),
        ("<a title='&copy'>x</a>", "named entity without semicolon"),
        ("<table><tr><p>x</p></tr></table>", "table voodoo <p>"),
        ("<p>a\x00b</p>", "invalid codepoint"),
        ("<div", "eof in tag name"),
        ("<html><body>x</body></html>", "expected doctype but got start tag <html>"),
        ("just text", "holds no tag"),
        ("", "is empty"),
    ],
)
def test_broken_html_fails_with_its_place(text, reason) -> None:
    """Unclosed, misnested, stray and duplicate things fail, with line and column."""
    result = row(checks.HTMLValid(), text)
    assert result.status == "fail"
    assert reason in result.reason


def test_html_documents_and_fragments() -> None:
    """A document needs a doctype and a title may be missing; a fragment needs neither."""
    assert status(checks.HTMLValid(mode="document"), "<p>x</p>") == "fail"
    assert status(checks.HTMLValid(mode="fragment"), "<p>x</p>") == "pass"
    assert status(checks.HTMLValid(), "<!-- hi -->\n<!doctype html>\n<p>x</p>") == "pass"
    assert status(checks.HTMLValid(extract=True), "```html\n<p>x</p>\n```") == "pass"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a limit that arrives in a finaliser
@pytest.mark.parametrize(
    ("check", "text"),
    [
        (checks.HTMLValid(timeout_s=0.5), "<div>" * 100_000 + "<p>" * 30_000),
        (checks.HTMLValid(timeout_s=0.5), "<b><i><u>" * 50_000),
        (checks.SQLValid(timeout_s=0.5), "INSERT INTO t VALUES " + ",".join(["(1, 'a')"] * 90_000)),
    ],
)
def test_hostile_markup_cannot_hang_a_run(check, text) -> None:
    """Inputs that take a parser minutes end as an error when the time is up, or as a fail before."""
    start = time.monotonic()
    assert status(check, text) in ("error", "fail")
    assert time.monotonic() - start < 4
