import pytest
from pathlib import Path
from tests.conftest import *
from tests.docs_tools import *
@pytest.mark.parametrize("name", ["tutorial"])
def test_play(name, tmp_path, evalh, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100"); monkeypatch.delenv("EVALH_STORE", raising=False)
    n = Session(evalh, monkeypatch.chdir, tmp_path).play(ROOT / "docs" / f"{name}.md")
    print(n)
