"""vLLM: a server by URL through the openai client, or in this process with `vllm.LLM` when the extra is installed.

A server gets the schema as `response_format` of the standard API. vLLM drops parameters that it no longer knows without
a word and answers in free text, so its own (twice renamed) parameters are not used, and every reply is validated above.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

from evalh.errors import InputError, ProviderError, ProviderRefused, ProviderUnusable
from evalh.fingerprints import canonical
from evalh.providers.base import Provider, Reply, Request, Target
from evalh.providers.endpoint import keyless
from evalh.providers.openai import OpenAIProvider

WINDOW_S = 0.005  # questions that come within this time of the first are asked as one batch
KEY_ENV = "VLLM_API_KEY"
_CHAT_SETTINGS = ("chat_template", "chat_template_kwargs")  # of LLM.chat; everything else is a sampling parameter


def provider(target: Target, *, family: str | None = None) -> Provider:
    """`vllm:MODEL`: at `base_url` where one is given, else in this process."""
    if target.base_url is None:
        return InProcess(target)
    if "engine" in target.params:
        raise InputError(
            "params.engine is for a model in this process", where=target.ref, hint="set it where the server is started, or drop base_url"
        )
    return OpenAIProvider(target, keyless(target, target.base_url, KEY_ENV))


class InProcess:
    """`vllm.LLM` in this process: questions that wait at the same time become one batch, in one worker thread.

    `params.engine` are the settings of `vllm.LLM` (dtype, max_model_len, …), the other params those of `SamplingParams`,
    as a server would take them. The model is loaded when the first question comes; `timeout_s` has to allow for that.
    """

    simulated = False
    deterministic = False

    def __init__(self, target: Target) -> None:
        if importlib.util.find_spec("vllm") is None:
            raise ProviderUnusable(
                "vllm is not installed", where=target.ref, hint='pip install "evalh[vllm]", or give the base_url of a vLLM server'
            )
        self.target = target
        self._engine = _Engine.shared(target)
        self._waiting: list[tuple[Request, asyncio.Future[Reply]]] = []
        self._drain: asyncio.Task[None] | None = None

    async def ask(self, request: Request) -> Reply:
        """The reply to a request. Raises ProviderRefused (this request) or ProviderUnusable (the model)."""
        if request.tools:
            raise ProviderRefused(
                "tools need a vLLM server", where=self.target.ref, hint="calls are parsed by the server: give its base_url"
            )
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if self._drain is None or self._drain.done():
            self._drain = asyncio.create_task(self._answer_waiting())
        return await future

    async def aclose(self) -> None:
        """Let go of the model; the last provider that uses it unloads it."""
        if self._drain is not None:
            self._drain.cancel()
        await asyncio.to_thread(self._engine.release)

    async def _answer_waiting(self) -> None:
        """Batch after batch, until nobody waits. What comes while a batch runs is the next batch."""
        await asyncio.sleep(WINDOW_S)
        while self._waiting:
            batch, self._waiting = [(r, f) for r, f in self._waiting if not f.done()], []  # without those who have given up
            answers = await self._answered([request for request, _ in batch]) if batch else ()
            for (_, future), answer in zip(batch, answers, strict=True):
                if future.done():
                    continue
                if isinstance(answer, ProviderError):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    async def _answered(self, requests: Sequence[Request]) -> Sequence[Reply | ProviderError]:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._engine.thread, self._engine.answer, requests, self.target)
        except RuntimeError as error:  # the engine's thread has ended
            return [ProviderUnusable(f"the model is unloaded: {error}", where=self.target.ref) for _ in requests]


class _Engine:
    """One loaded model. It is held once in a process: two judges of one model share it, and its memory."""

    _loaded: ClassVar[dict[str, _Engine]] = {}
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, key: str, model: str, settings: Mapping[str, Any]) -> None:
        self.key, self.model, self.settings = key, model, settings
        self.users = 0
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="evalh-vllm")  # vllm.LLM is not thread-safe
        self.llm: Any = None

    @classmethod
    def shared(cls, target: Target) -> _Engine:
        settings = dict(target.params.get("engine") or {})
        key = canonical([target.model, settings])
        with cls._lock:
            engine = cls._loaded.get(key) or cls(key, target.model, settings)
            cls._loaded[key] = engine
            engine.users += 1
        return engine

    def release(self) -> None:
        with self._lock:
            self.users -= 1
            if self.users > 0:
                return
            self._loaded.pop(self.key, None)
        self.thread.submit(self._unload).result()
        self.thread.shutdown()

    def answer(self, requests: Sequence[Request], target: Target) -> list[Reply | ProviderError]:
        """One reply, or what went wrong, per request. Runs in the engine's thread and raises nothing."""
        try:
            self._load()
        except Exception as error:  # whatever stops a model from loading stops the run, with its reason
            reason = f"the model does not load: {type(error).__name__}: {error}"
            return [
                ProviderUnusable(reason[:500], where=target.ref, hint="`params.engine` holds the settings of vllm.LLM") for _ in requests
            ]
        return self._ask(requests, target)

    def _ask(self, requests: Sequence[Request], target: Target) -> list[Reply | ProviderError]:
        try:
            return list(self._chat(requests, target))
        except Exception as error:
            if not self._is_about_the_request(error):
                return [ProviderUnusable(f"vllm failed: {type(error).__name__}: {error}"[:500], where=target.ref) for _ in requests]
            if len(requests) == 1:
                return [ProviderRefused(f"{error}"[:500], where=target.ref)]
        # one request that vllm refuses (too long, say) refuses its whole batch: ask one by one
        return [answer for request in requests for answer in self._ask([request], target)]

    def _chat(self, requests: Sequence[Request], target: Target) -> list[Reply]:
        import vllm

        params = {name: value for name, value in target.params.items() if name != "engine" and value is not None}
        chat = {name: params.pop(name) for name in _CHAT_SETTINGS if name in params}
        base = {**self.llm.model_config.get_diff_sampling_param(), "max_tokens": target.max_tokens}
        if target.temperature is not None:
            base["temperature"] = target.temperature
        outputs = self.llm.chat(
            [[m.model_dump() for m in request.messages] for request in requests],
            sampling_params=[vllm.SamplingParams(**{**base, **params, **_structured(request)}) for request in requests],
            use_tqdm=False,
            **chat,
        )
        return [_reply(output, target.model, f"vllm-{vllm.__version__}-{self._dtype()}") for output in outputs]

    def _load(self) -> None:
        if self.llm is None:
            os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")  # standard output is for what evalh prints
            import vllm

            self.llm = vllm.LLM(model=self.model, **self.settings)

    def _unload(self) -> None:
        import gc

        self.llm = None
        gc.collect()  # the engine's processes end with its finalizers

    def _dtype(self) -> str:
        return str(self.llm.model_config.dtype).removeprefix("torch.")

    @staticmethod
    def _is_about_the_request(error: Exception) -> bool:
        """Whether vllm says that the request is wrong: its own validation error, or ValueError in older versions."""
        names = {cls.__name__ for cls in type(error).__mro__}
        return bool(names & {"VLLMClientError", "ValueError"})


def _structured(request: Request) -> dict[str, Any]:
    if request.schema_ is None:
        return {}
    from vllm.sampling_params import StructuredOutputsParams

    return {"structured_outputs": StructuredOutputsParams(json=request.schema_)}


def _reply(output: Any, model: str, fingerprint: str) -> Reply:
    done = output.outputs[0]
    return Reply(
        text=done.text,
        version=model,
        system_fingerprint=fingerprint,
        finish_reason=done.finish_reason,
        tokens_in=len(output.prompt_token_ids or ()),
        tokens_out=len(done.token_ids),
    )
