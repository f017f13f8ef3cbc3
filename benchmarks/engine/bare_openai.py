"""Bare program: the calls and the checks, through the official client's cheapest supported path; nothing is stored.

    python bare_openai.py PROJECT URL IN_FLIGHT

`client.post` with the raw response, over the client's own aiohttp transport: no model of the request or of the reply is built.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import httpx2
import openai
from judge import Work


async def main(project: Path, url: str, in_flight: int) -> None:
    work = Work(project)
    cases = work.cases()
    async with openai.AsyncOpenAI(
        api_key="none", base_url=f"{url}/v1", max_retries=0, timeout=60, http_client=openai.DefaultAioHttpClient()
    ) as client:

        async def worker() -> None:
            for asked, output in cases:
                work.check(output)
                response = await client.post("/chat/completions", body=work.request(asked, output), cast_to=httpx2.Response)
                work.read(json.loads(response.content))

        await asyncio.gather(*(worker() for _ in range(in_flight)))
    work.tell()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
