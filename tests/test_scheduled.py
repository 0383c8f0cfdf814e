"Scheduled notebooks stay thin: typed parameters, no definitions, no stored outputs."

import ast
from pathlib import Path

import papermill as pm
import pytest
from fastcore.nbio import read_nb

NBS = sorted((Path(__file__).parents[1] / "scheduled").glob("*.ipynb"))
LOGIC = ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.For, ast.While, ast.Try


@pytest.mark.parametrize("path", NBS, ids=lambda p: p.stem)
def test_thin(path):
    nb = read_nb(path)
    code = [c for c in nb.cells if c.cell_type == "code"]
    assert nb.metadata.kernelspec.name == "python3"
    assert not [c.id for c in code if c.outputs]
    tagged = [c for c in code if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert all(isinstance(n, ast.AnnAssign) for n in ast.parse(tagged[0].source).body)
    assert all(p["help"] for p in pm.inspect_notebook(path).values()), "comment every parameter"
    assert not [c.id for c in code for n in ast.parse(c.source).body if isinstance(n, LOGIC)]
