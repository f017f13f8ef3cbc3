"""`evalh sim serve`: the judge simulator on loopback."""

from __future__ import annotations

from pathlib import Path

import click

EPILOG = """\b
Example
  evalh sim serve --profile suites/judges.toml --port 8765
"""


@click.group()
def sim() -> None:
    """The judge simulator: judges with stated biases, for tests and demonstrations."""


@sim.command(epilog=EPILOG)
@click.option("--profile", required=True, type=click.Path(path_type=Path), metavar="FILE", help="What the judges are like (TOML).")
@click.option("--host", default="127.0.0.1", show_default=True, help="A loopback address.")
@click.option("--port", default=8765, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
def serve(profile: Path, host: str, port: int) -> None:
    """Serve simulated judges in the OpenAI and Anthropic formats until Ctrl-C."""
    from evalh.sim.profile import load_profile
    from evalh.sim.server import serve as serve_app

    serve_app(load_profile(profile), host, port)
