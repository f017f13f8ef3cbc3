"""Edit distance, ROUGE-L and BLEU against the numbers of independent implementations, and in scripts that these forget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalh import checks
from evalh.checks.similarity import rouge_l, tokens
from tests.checks_support import row, status

# F-measures of rougeL from the package rouge-score 0.1.2, without stemming: (output, reference, F)
ROUGE = [
    ("the cat sat on the mat", "the cat was on the mat", 0.8333333333333334),
    ("The quick brown fox jumps over the lazy dog.", "A fast brown fox leaps over a lazy dog!", 0.5555555555555556),
    ("police killed the gunman", "police kill the gunman", 0.75),
    ("the gunman kill police", "police killed the gunman", 0.5),
    ("It's 3.14 -- isn't it? user_name@mail.com", "its 3 14 is not it user name mail com", 0.6666666666666666),
    ("one two three four five six", "six five four three two one", 0.16666666666666666),
    ("alpha", "omega", 0.0),
    ("a b c", "a b c d e f g h i j", 0.4615384615384615),
    (
        "Within 30 days of purchase, you can return any item.\nRefunds take 5 days.",
        "You can return an item within 30 days. Refunds take five days.",
        0.5384615384615384,
    ),
]
# sacrebleu.sentence_bleu(output, references).score / 100, from sacrebleu 2.6.0
BLEU = [
    ("The cat is on the mat.", ["The cat is on a mat."], 0.4889230224349009),
    ("the the the the", ["the cat sat"], 0.1597357760615681),
    ("Hello there , general Kenobi", ["Hello there !  General Kenobi", "Hello there general kenobi"], 0.2540663740773074),
    (
        "It is a guide to action which ensures that the military always obeys the commands of the party",
        ["It is a guide to action that ensures that the military will forever heed Party commands"],
        0.41180376356915765,
    ),
]


@pytest.mark.parametrize(("text", "reference", "f"), ROUGE)
def test_rouge_l_is_that_of_the_reference_implementation(text, reference, f) -> None:
    """On ASCII text the score is that of Google's rouge_score, to the last digits."""
    assert row(checks.RougeL(0.5, reference), text).score == pytest.approx(f, abs=1e-15)
    assert row(checks.RougeL(0.5), text, reference).score == pytest.approx(f, abs=1e-15)


def naive_lcs(a: list[str], b: list[str]) -> int:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@given(st.lists(st.sampled_from("abcde"), max_size=80), st.lists(st.sampled_from("abcde"), min_size=1, max_size=80))
def test_rouge_l_is_f1_of_the_longest_common_subsequence(got, want) -> None:
    """Precision, recall and their harmonic mean from a textbook table."""
    common = naive_lcs(got, want)
    precision, recall = common / len(got) if got else 0, common / len(want)
    f1 = 2 * precision * recall / (precision + recall) if common else 0
    assert rouge_l(" ".join(got), " ".join(want)) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't use_it, café 3.14!", ["don", "t", "use", "it", "café", "3", "14"]),
        ("Можно вернуть Товар", ["можно", "вернуть", "товар"]),
        ("我们去公园 now", ["我", "们", "去", "公", "园", "now"]),
        ("これは本", ["こ", "れ", "は", "本"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("cafe\u0301", ["café"]),
        ("— … !", []),
    ],
)
def test_tokens_are_right_in_other_scripts(text, expected) -> None:
    """Words with their marks, and single characters where a script has no spaces."""
    assert tokens(text) == expected


def test_rouge_l_in_russian_and_chinese() -> None:
    """Scores are those of their words and characters, not zero as with an ASCII tokeniser."""
    assert rouge_l("кошка сидела на ковре", "кошка лежала на ковре") == pytest.approx(0.75)
    assert rouge_l("我们今天去公园", "我们明天去公园") == pytest.approx(12 / 14)


@pytest.mark.parametrize(("text", "references", "score"), BLEU)
def test_bleu_is_that_of_sacrebleu(text, references, score) -> None:
    """Sentence BLEU to the last digit, with one reference or several."""
    assert row(checks.Bleu(0.3, references), text).score == pytest.approx(score, abs=1e-12)
    assert row(checks.Bleu(0.3), text, references).score == pytest.approx(score, abs=1e-12)


def test_bleu_tokenises_chinese_on_demand() -> None:
    """The tokeniser is a setting: `zh` sees characters where the default sees one word."""
    assert row(checks.Bleu(0.5, tokenize="zh"), "我们今天去公园散步", "我们今天去公园玩").score == pytest.approx(0.7259795291154773)
    assert row(checks.Bleu(0.5), "我们今天去公园散步", "我们今天去公园玩").score == 0
    assert row(checks.Bleu(1.0), "The same sentence, word for word.", "The same sentence, word for word.").status == "pass"


@pytest.mark.parametrize(
    ("text", "reference", "score"),
    [("kitten", "sitting", 1 - 3 / 7), ("", "abc", 0.0), ("abc", "abc", 1.0), ("cafe\u0301", "café", 1.0), ("日本", "日本語", 2 / 3)],
)
def test_levenshtein_is_edits_over_the_longer_text(text, reference, score) -> None:
    """1 − distance / length of the longer text, in characters of composed form."""
    assert row(checks.Levenshtein(0.5), text, reference).score == pytest.approx(score)


def test_thresholds_decide_and_the_nearest_reference_counts() -> None:
    """At the threshold is enough; of several references the best is taken; letter case can be ignored."""
    assert status(checks.Levenshtein(0.75), "abcd", "abcx") == "pass"
    assert status(checks.Levenshtein(0.76), "abcd", "abcx") == "fail"
    assert row(checks.Levenshtein(1.0), "abc", ["xyz", "abc"]).score == 1
    assert status(checks.Levenshtein(1.0, ignore_case=True), "ABC", "abc") == "pass"


@pytest.mark.parametrize("check", [checks.Levenshtein(0.5), checks.RougeL(0.5), checks.Bleu(0.5)])
def test_similarity_without_something_to_compare_with_is_an_error(check) -> None:
    """No reference, an empty one, one that is no text, and texts beyond the limit cannot be compared."""
    for reference in (None, "", {"a": 1}, "x" * 100_001):
        assert status(check, "text", reference) == "error"
    assert status(check, "x" * 100_001, "text") == "error"
    assert status(checks.RougeL(0.5), "text", "!?") == "error"
    assert status(check, "", "text") == "fail"
