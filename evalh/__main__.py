"""`python -m evalh` is `evalh`."""

try:
    from evalh.cli.main import main
except KeyboardInterrupt:  # nothing has begun: no traceback for that
    raise SystemExit(130) from None

main()
