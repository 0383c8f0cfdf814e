"""Every notebook runs top to bottom; with CATALYST_LONG=1 again with its examples pointed at the module it exports.

The second run cannot differ while modules are what the notebooks export and every name in them resolves, which `.ci/run` asserts.
CATALYST_SAVE_OUTPUTS=1 stores what the cells return: after `nbdev-clean`, a difference is an output that was no longer true.
"""

import os
from copy import deepcopy
from pathlib import Path

import pytest
from execnb.shell import CaptureShell
from fastcore.nbio import mk_cell, read_nb
from fastcore.xtras import working_directory
from nbdev.test import test_nb as run_nb  # renamed, or pytest would collect it

ROOT = Path(__file__).parents[1]
PKG, SKIP = "catalyst", {"slow", "live"}
EXPORTS = {"export", "exports", "exporti"}
NBS = sorted(
    p for p in (ROOT / "nbs").rglob("*.ipynb") if not {"_", "."} & {s[0] for s in p.parts[-2:]}
)


READ = {p: read_nb(p) for p in NBS}  # Before any of them is run: a run may store its outputs
SAVE = bool(os.environ.get("CATALYST_SAVE_OUTPUTS"))


def module_of(nb):
    named = (c.directive("default_exp") for c in nb.cells)
    return next((name for name in named if name), None)


def against_module(path):
    "The notebook at `path` with its export cells replaced by the namespace of the module"
    nb = deepcopy(READ[path])
    name = f"{PKG}.{module_of(nb)}"
    take = (
        f"import importlib as _il; globals().update({{k: v for k, v in "
        f"vars(_il.import_module({name!r})).items() if k[:2] != '__'}})"
    )
    keep = [
        c
        for c in nb.cells
        if c.cell_type == "code"
        and not (EXPORTS | SKIP) & set(c.directives)
        and c.directive("eval") != "false"
    ]
    nb.cells = [mk_cell(take), *keep]
    return nb


@pytest.fixture(autouse=True)
def setups():
    "A page may register a setup of its own: the process that runs the next page must not trade it"
    # Ours register when they are imported, once in a process, so whoever runs first imports them here
    from catalyst.signals import SETUPS

    kept = dict(SETUPS)
    yield
    SETUPS.clear()
    SETUPS.update(kept)


@pytest.mark.parametrize("path", NBS, ids=lambda p: p.stem)
def test_runs(path, capfd):
    ok, _ = run_nb(path, skip_flags=SKIP, basepath=ROOT, cell_timeout=120, save=SAVE)
    assert ok, capfd.readouterr().err


@pytest.mark.skipif(
    not os.environ.get("CATALYST_LONG"), reason="CATALYST_LONG=1 runs every page twice"
)
@pytest.mark.parametrize("path", [p for p in NBS if module_of(READ[p])], ids=lambda p: p.stem)
def test_examples_hold_for_the_module(path):
    shell = CaptureShell(path, profile=False)
    try:
        with working_directory(path.parent):
            shell.run_all(against_module(path), exc_stop=True, cell_timeout=120)
    except Exception as e:
        pytest.fail(shell.prettytb(fname=path) or repr(e), pytrace=False)
