"""JSON paths (RFC 9535), compiled once; the patterns of `match()` and `search()` in filters are bounded as all patterns are."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import islice
from typing import Any

from evalh.checks.json_text import MAX_DEPTH
from evalh.checks.limits import Undecidable
from evalh.checks.patterns import TIMEOUT_S, BoundedPattern, bounded_pattern
from evalh.errors import InputError

MAX_NODES = 10_000


def compile_path(path: str) -> Callable[[Any], list[Any]]:
    """A function from a JSON value to the values that the path finds. Raises InputError where it is no JSON path."""
    from jsonpath.exceptions import JSONPathError

    try:
        compiled = _environment().compile(path)
    except (JSONPathError, RecursionError) as error:
        raise InputError(
            f"{path!r} is no JSON path: {str(error).splitlines()[0]}", where="path", hint="RFC 9535, for example `$.items[0].price`"
        ) from None

    def find(value: Any) -> list[Any]:
        found = [match.obj for match in islice(compiled.finditer(value), MAX_NODES + 1)]
        if len(found) > MAX_NODES:
            raise Undecidable(f"{path} finds more than {MAX_NODES:,} values")
        return found

    # the library reads a bare string or number as a document; a JSON value that is no object or array has one node, the root
    return lambda value: find(value) if isinstance(value, dict | list) else ([value] if path.strip() == "$" else [])


@cache
def _environment() -> Any:
    from jsonpath import JSONPathEnvironment
    from jsonpath.function_extensions import Match, Search

    class Bounded:
        """Puts the library's pattern, already in Python's syntax, under our limits of size and time."""

        def check_cache(self, pattern: str) -> BoundedPattern | None:
            try:
                bounded_pattern(pattern)
            except InputError:
                return None  # as RFC 9535 asks: a bad pattern matches nothing
            compiled = super().check_cache(pattern)  # type: ignore[misc]
            return BoundedPattern(compiled, TIMEOUT_S) if compiled is not None else None

    class BoundedMatch(Bounded, Match):  # type: ignore[misc]
        pass

    class BoundedSearch(Bounded, Search):  # type: ignore[misc]
        pass

    class Environment(JSONPathEnvironment):  # type: ignore[misc]
        max_recursion_depth = MAX_DEPTH + 1

        def setup_function_extensions(self) -> None:
            super().setup_function_extensions()
            self.function_extensions["match"] = BoundedMatch(thread_safe=True)
            self.function_extensions["search"] = BoundedSearch(thread_safe=True)

    return Environment(strict=True, filter_caching=False)
