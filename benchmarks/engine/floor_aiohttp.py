"""Floor: the same calls and checks with aiohttp alone, no client of a vendor; nothing is stored.

python floor_aiohttp.py PROJECT URL IN_FLIGHT
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import aiohttp
from judge import Work


async def main(project: Path, url: str, in_flight: int) -> None:
    work = Work(project)
    cases = work.cases()
    headers = {"authorization": "Bearer none", "content-type": "application/json"}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=in_flight)) as session:

        async def worker() -> None:
            for asked, output in cases:
                work.check(output)
                body = json.dumps(work.request(asked, output), ensure_ascii=False, separators=(",", ":")).encode()
                async with session.post(f"{url}/v1/chat/completions", data=body) as response:
                    response.raise_for_status()
                    work.read(json.loads(await response.read()))

        await asyncio.gather(*(worker() for _ in range(in_flight)))
    work.tell()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
