"""The stated language model: a distribution over ranks, and memory as a mixture."""

import math

import pytest

from evalh.sim.logprobs import HARMONIC, VOCABULARY, Memory, scored, tokenize

TEXT = "The quick brown fox, seen at dawn near 12 old mills, jumps over the lazy dog and never looks back again."


def test_tokens_are_the_text_and_have_stable_ids() -> None:
    """Tokens joined are the text again; offsets point at them; an id depends on the token alone."""
    text = "  Año 2026: «straße»\n\tfin.  "
    tokens = tokenize(text)
    assert "".join(token.text for token in tokens) == text
    assert all(text[token.offset :].startswith(token.text) for token in tokens)
    assert len({token.id for token in tokens}) == len(tokens)
    assert [token.id for token in tokenize("a fin.  ")][-1] == tokens[-1].id


def test_the_base_law_is_a_distribution_and_texts_are_typical_of_it() -> None:
    """p = 1/(rank·H): the ranks' masses sum to 1, the k likeliest are in order, and a text's surprise is the law's entropy."""
    assert sum(1 / (rank * HARMONIC) for rank in range(1, VOCABULARY + 1)) == pytest.approx(1, abs=1e-9)
    tokens = tokenize(" ".join(f"{a}{b}" for a in "bcdfghklmnprst" for b in range(80)))
    entries = [one for one in scored(tokens, Memory(), 5) if one]
    for one in entries:
        assert one.logprob == pytest.approx(-math.log(one.rank * HARMONIC))
        masses = [logprob for _, _, logprob, _ in one.top]
        assert masses == sorted(masses, reverse=True)
        assert (one.token.id in [id_ for id_, *_ in one.top]) == (one.rank <= 5)
    entropy = sum(math.log(r * HARMONIC) / (r * HARMONIC) for r in range(1, VOCABULARY + 1))
    assert -sum(one.logprob for one in entries) / len(entries) == pytest.approx(entropy, rel=0.03)


def test_a_remembered_text_is_a_mixture() -> None:
    """After three remembered words the next has gain + (1-gain)·p and everything else (1-gain)·p, with ranks to match."""
    plain, known = (scored(tokenize(TEXT), memory, 3) for memory in (Memory(), Memory([TEXT], gain=0.6)))
    for before, after in zip(plain[3:], known[3:], strict=True):
        assert before is not None
        assert after is not None
        assert math.exp(after.logprob) == pytest.approx(0.6 + 0.4 * math.exp(before.logprob))
        assert after.rank == 1
    changed = tokenize(TEXT.replace("lazy dog", "lazy cat"))
    at = next(i for i, token in enumerate(changed) if token.text == " cat")
    stranger, base = scored(changed, Memory([TEXT], gain=0.6), 3)[at], scored(changed, Memory(), 3)[at]
    assert stranger is not None
    assert base is not None
    assert stranger.logprob == pytest.approx(base.logprob + math.log(0.4))
    assert stranger.top[0][1] == " dog"
    assert stranger.rank in (base.rank, base.rank + 1)


def test_a_beginning_is_completed_from_memory() -> None:
    """Eight words of a remembered text are enough to go on with it; other words, or the whole text, are not continued."""
    memory = Memory([TEXT, "short text"])
    words = TEXT.split()
    assert memory.completion("Complete this: " + " ".join(words[:10])) == " ".join(words[10:])
    assert memory.completion(" ".join(words[:7])) is None
    assert memory.completion(TEXT) is None
    assert memory.completion("Complete this: something that was never seen before by anyone at all") is None
