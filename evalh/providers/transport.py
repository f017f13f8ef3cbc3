"""What carries the requests of the official clients: aiohttp, below the `http_client` that they take.

Costs about half of their own default. They ship such a transport too; this one reads a reply in one piece, opens as many
connections as are asked for, makes a TLS context only where one is needed, and tells a dropped connection from a timeout.
Imported with the first question, like the clients.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2

KEEP_ALIVE_S = 15.0  # an idle connection is closed after this time; many servers close theirs after 5 to 75 s


class Transport(httpx2.AsyncBaseTransport):
    """HTTP/1.1 over a pool of kept connections, as many as there are requests at one time: the engine bounds those.

    Sets no timeout: whoever asks limits the whole call. A request that was sent once is never sent again here.
    """

    def __init__(self, base_url: str) -> None:
        self._tls = httpx2.create_ssl_context() if base_url.startswith("https:") else True
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The whole reply. Raises httpx2.NetworkError where there is none."""
        if self._session is None:
            self._session = self._open()
        try:
            async with self._session.request(
                request.method,
                str(request.url),
                headers=request.headers,
                data=await request.aread() or None,
                allow_redirects=False,  # the layer above follows them, and keeps keys from strangers
            ) as response:
                body = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise httpx2.NetworkError(str(error) or type(error).__name__, request=request) from error
        return httpx2.Response(response.status, headers=response.raw_headers, content=body, request=request)

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._tls, keepalive_timeout=KEEP_ALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,  # httpx2 has named the encodings that it can read, and reads them
        )


class _Client(httpx2.AsyncClient):
    """`AsyncClient` for the one kind of request that is sent here a thousand times: a body of bytes, all headers given.

    Leaves out what merges settings of the client into each request and what looks for cookies, hooks and ways to log in: it has
    none of them. Any other request, and whatever answers with a redirect, goes the long way.
    """

    def build_request(
        self, method: str, url: Any, *, content: Any = None, headers: Any = None, timeout: Any = None, **more: Any
    ) -> httpx2.Request:
        if not isinstance(content, bytes) or not isinstance(url, str) or any(value is not None for value in more.values()):
            return super().build_request(method, url, content=content, headers=headers, timeout=timeout, **more)
        return httpx2.Request(method, _parsed(url), content=content, headers=[*(headers or ()), *_OWN_HEADERS])

    async def send(self, request: httpx2.Request, *, stream: bool = False, **more: Any) -> httpx2.Response:
        if stream or more or request.url.userinfo:
            return await super().send(request, stream=stream, **more)
        response = await self._transport.handle_async_request(request)
        if response.has_redirect_location:  # it was not answered: asked again, with whoever knows the way
            return await super().send(request)
        return response


_OWN_HEADERS = (("accept-encoding", "gzip, deflate"), ("connection", "keep-alive"))


@lru_cache(maxsize=64)
def _parsed(url: str) -> httpx2.URL:
    return httpx2.URL(url)


def http_client(base_url: str) -> httpx2.AsyncClient:
    """An HTTP client for one server, made for an official client; closing that closes this.

    Where the environment names a proxy for the server, httpx2's own transport is taken, which knows proxies of every kind.
    """
    if _behind_proxy(base_url):
        return httpx2.AsyncClient(follow_redirects=True, limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None))
    return _Client(transport=Transport(base_url), follow_redirects=True, trust_env=False)


def _behind_proxy(url: str) -> bool:
    parts, proxies = urlsplit(url), getproxies()
    return bool(proxies.get(parts.scheme) or proxies.get("all")) and not proxy_bypass(parts.netloc)
