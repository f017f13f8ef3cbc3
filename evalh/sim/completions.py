"""The completions format with log-probabilities of the prompt, as vLLM gives them (`prompt_logprobs`, or `echo` and `logprobs`).

Checked against vLLM 0.32: a list whose first entry is null, then {token_id: {logprob, rank, decoded_token}}; at most 20
alternatives; `max_tokens: 0` only with `echo`; a list of prompts gives one choice each, in order.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from evalh.sim.draws import uniform
from evalh.sim.logprobs import MAX_LOGPROBS, Memory, completion_logprobs, drawn_rank, prompt_logprobs, tokenize
from evalh.sim.wire import Answered, Asked, Format, RequestError, model_of, openai_error, openai_usage, whole_number

DEFAULT_MAX_TOKENS = 16  # OpenAI's and vLLM's


def continued(prompt: str, memory: Memory, limit: int) -> str:
    """What follows a prompt: the rest of a remembered text that begins in it, else words drawn by hash from the base law."""
    rest = memory.completion(prompt)
    if rest is not None:
        gap = "" if prompt[-1:].isspace() else " "
        return gap + rest
    return "".join(f" w{drawn_rank(uniform('sample', prompt, i))}" for i in range(limit))


def _asked(body: Mapping[str, Any], headers: Mapping[str, str]) -> Asked:
    prompt = body.get("prompt")
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, list) or not prompts or not all(isinstance(p, str) and p for p in prompts):
        raise RequestError("prompt must be a text or a list of texts, none of them empty; this server reads no token ids", param="prompt")
    limit = whole_number(body, "max_tokens", low=0)
    if limit == 0 and not body.get("echo"):
        raise RequestError("max_tokens must be at least 1, got 0.", param="max_tokens")
    for name in ("logprobs", "prompt_logprobs"):
        if (whole_number(body, name, low=0) or 0) > MAX_LOGPROBS:
            raise RequestError(f"Requested {name} of {body[name]}, which is greater than max allowed: {MAX_LOGPROBS}", param=name)
    return Asked(
        model_of(body), "\n\n".join(prompts), prompts[-1], max_tokens=DEFAULT_MAX_TOKENS if limit is None else limit,
        logprobs=body.get("logprobs"), prompts=tuple(prompts),
        options={name: body.get(name) for name in ("echo", "prompt_logprobs", "return_token_ids")},
    )  # fmt: skip


def _reply(asked: Asked, answer: Answered) -> dict[str, Any]:
    memory = answer.memory or Memory()
    choices, used, made = [], 0, 0
    for index, (prompt, text) in enumerate(zip(asked.prompts, answer.continuations, strict=True)):
        choice, prompt_tokens, new_tokens = _choice(asked, index, prompt, text, memory)
        choices.append(choice)
        used, made = used + prompt_tokens, made + new_tokens
    return {
        "id": f"cmpl-{answer.ident}", "object": "text_completion", "created": int(time.time()), "model": answer.version,
        "system_fingerprint": answer.fingerprint, "choices": choices, "usage": openai_usage(used, made),
    }  # fmt: skip


def _choice(asked: Asked, index: int, prompt: str, text: str, memory: Memory) -> tuple[dict[str, Any], int, int]:
    """One choice, with the numbers of tokens of its prompt and of its continuation (cut at max_tokens)."""
    before = tokenize(prompt)
    after = [token._replace(offset=token.offset + len(prompt)) for token in tokenize(text)]
    made = after[: asked.max_tokens]
    every = [*before, *made]
    shown = every if asked.options["echo"] else made
    choice: dict[str, Any] = {
        "index": index, "text": "".join(token.text for token in shown), "logprobs": None, "prompt_logprobs": None,
        "finish_reason": "length" if len(after) >= (asked.max_tokens or 0) else "stop",
    }  # fmt: skip
    if asked.logprobs is not None:
        choice["logprobs"] = completion_logprobs(every, memory, asked.logprobs, start=len(every) - len(shown))
    if asked.options["prompt_logprobs"] is not None:
        choice["prompt_logprobs"] = prompt_logprobs(before, memory, asked.options["prompt_logprobs"])
    if asked.options["return_token_ids"]:
        choice |= {"prompt_token_ids": [token.id for token in before], "token_ids": [token.id for token in made]}
    return choice, len(before), len(made)


COMPLETIONS = Format("completions", "openai", _asked, _reply, openai_error)
