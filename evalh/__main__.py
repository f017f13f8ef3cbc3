"""`python -m evalh` is `evalh`."""

from evalh.cli.main import main

main()
