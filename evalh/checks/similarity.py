"""Checks of how near an output is to a reference text: edit distance, ROUGE-L, BLEU. Each needs a threshold of its own.

Tokens of ROUGE-L are runs of letters, marks and digits in lower case, and single characters of scripts without spaces. For
ASCII text these are the tokens of Google's `rouge_score` without stemming.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, Literal

from pydantic import Field

from evalh.checks.base import Compiled, Finding, Pure, Resolve, Subject
from evalh.checks.expected import FROM_REFERENCE, comparable, expected_texts
from evalh.checks.limits import Undecidable, at_most
from evalh.errors import InputError


class _Similar(Pure):
    positional: ClassVar[tuple[str, ...]] = ("threshold", "value")

    threshold: float = Field(ge=0, le=1, description="the least similarity, in [0, 1], that passes")
    value: str | list[str] | None = Field(
        default=None, min_length=1, description="the text, or several of which the nearest counts" + FROM_REFERENCE
    )
    max_chars: int = Field(default=100_000, gt=0, description="a longer output or reference is an error, not a fail")

    def _nearest(self, similarity: Callable[[str, list[str]], float], name: str) -> Compiled:
        def run(subject: Subject) -> Finding:
            references = [at_most(text, self.max_chars) for text in expected_texts(self.value, subject)]
            score = similarity(at_most(subject.output.text, self.max_chars), references)
            return Finding(score >= self.threshold, score, f"{name} {score:.3f}, threshold {self.threshold:g}")

        return run


class Levenshtein(_Similar):
    """The output is near the reference in edits of single characters: 1 − distance / length of the longer text."""

    kind: ClassVar[str] = "levenshtein"

    ignore_case: bool = Field(default=False, description="compare without regard to upper and lower case")

    def compile(self, resolve: Resolve) -> Compiled:
        from rapidfuzz.distance import Levenshtein as Distance

        def similarity(text: str, references: list[str]) -> float:
            got = comparable(text, self.ignore_case)
            return max(Distance.normalized_similarity(got, comparable(r, self.ignore_case)) for r in references)

        return self._nearest(similarity, "similarity")


class RougeL(_Similar):
    """ROUGE-L F1: the longest common subsequence of tokens, over the tokens of both texts (Lin 2004, §3.1, β = 1)."""

    kind: ClassVar[str] = "rouge-l"

    def compile(self, resolve: Resolve) -> Compiled:
        return self._nearest(lambda text, references: max(rouge_l(text, r) for r in references), "ROUGE-L")


def rouge_l(text: str, reference: str) -> float:
    """F1 = 2PR / (P + R) with P = LCS / tokens of the text and R = LCS / tokens of the reference; 0 where the text has none.

    Raises Undecidable where the reference has no token.
    """
    from rapidfuzz.distance import LCSseq

    got, want = tokens(text), tokens(reference)
    if not want:
        raise Undecidable("the reference holds no letter and no digit")
    common = LCSseq.similarity(got, want)
    return 2 * common / (len(got) + len(want))  # the same as 2PR / (P + R)


def tokens(text: str) -> list[str]:
    """The tokens of a text in their order."""
    found: list[str] = _token_pattern().findall(comparable(text.lower()))
    return found


@cache
def _token_pattern() -> Any:
    import regex

    unspaced = r"\p{Han}\p{Hiragana}\p{Katakana}"
    return regex.compile(rf"[{unspaced}]|[[\p{{L}}\p{{M}}\p{{N}}]--[{unspaced}]]+", regex.V1)


class Bleu(_Similar):
    """Sentence BLEU as sacrebleu computes it (effective order, exponential smoothing), in [0, 1]."""

    kind: ClassVar[str] = "bleu"

    tokenize: Literal["13a", "intl", "zh", "char", "none"] = Field(
        default="13a", description="sacrebleu's tokeniser; `zh` for Chinese, `char` for Japanese"
    )
    ignore_case: bool = Field(default=False, description="compare in lower case")

    def compile(self, resolve: Resolve) -> Compiled:
        try:
            from sacrebleu.metrics import BLEU
        except ImportError as error:
            raise InputError(f"needs sacrebleu: {error}", hint="pip install sacrebleu") from None
        metric = BLEU(tokenize=self.tokenize, lowercase=self.ignore_case, effective_order=True)

        def similarity(text: str, references: list[str]) -> float:
            score: float = metric.sentence_score(comparable(text), [comparable(r) for r in references]).score / 100
            return min(1.0, max(0.0, score))  # a perfect match comes out as 100.00000000000004

        return self._nearest(similarity, "BLEU")
