"""The written content of the shipped suites, and the code that assembles it. Run `python benchmarks/make_material.py`."""
