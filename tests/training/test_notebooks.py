# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The notebooks are saved clean, and run from the first cell to the last."""

from __future__ import annotations

import ast
from contextlib import suppress
from pathlib import Path
import re
import shlex
import sys
from typing import Any, NamedTuple

from nbclient import NotebookClient
import nbformat
from once import Once
import pytest
from tiny_models import tiny, weights_of

from adet_core import cli
from adet_core.bundle import open_bundle
from adet_core.errors import AdetError

FOLDER = Path(__file__).parents[2] / 'training' / 'notebooks'


class Expected(NamedTuple):
    """A notebook.

    Attributes:
        name: Of the file.
        model: The model name.
        figures: How many it shows.
    """

    name: str
    model: str
    figures: int


NOTEBOOKS = [
    Expected('PatchCore', 'patchcore', 5),
    Expected('PaDim', 'padim', 5),
    Expected('EfficientAD', 'efficientad', 5),
    Expected('VAE', 'vae', 6),
]


def read(name: str) -> Any:
    return nbformat.read(FOLDER / f'{name}.ipynb', as_version=nbformat.NO_CONVERT)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == 'code']


def printed(notebook: Any) -> str:
    """What all cells wrote to standard output."""
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return ''.join(output.text for output in outputs if output.get('name') == 'stdout')


def test_every_notebook_is_tested() -> None:
    assert {path.stem for path in FOLDER.glob('*.ipynb')} == {known.name for known in NOTEBOOKS}


@pytest.mark.parametrize('name', [known.name for known in NOTEBOOKS])
def test_it_is_saved_clean(name: str) -> None:
    notebook = read(name)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == 'python3'
    assert 'SPDX-License-Identifier: Apache-2.0' in notebook.cells[0].source
    for cell in code_cells(notebook):
        assert cell.outputs == []
        assert cell.execution_count is None
    # What an editor leaves there changes with each that opens it.
    assert all(cell.metadata == {} for cell in notebook.cells)


@pytest.mark.parametrize('name', [known.name for known in NOTEBOOKS])
def test_cells_are_short(name: str) -> None:
    cells = code_cells(read(name))
    assert len(cells) <= 14
    assert max(len(cell.source.splitlines()) for cell in cells) <= 30


# Before the cells of a notebook: it trains what `trained` does, so its graph is known.
TRACE_ONCE = """
from contextlib import ExitStack
import sys
from pathlib import Path
sys.path[:0] = {folders!r}
from once import graphs_once, Once
from thin_network import thin_networks
from tiny_models import quickly
# Each would end at once if nobody kept it.
entered = ExitStack()
for one in thin_networks(), quickly({model!r}), graphs_once(Once(Path({folder!r}))):
    entered.enter_context(one)
"""


@pytest.mark.training
@pytest.mark.parametrize('known', NOTEBOOKS, ids=[known.name for known in NOTEBOOKS])
def test_it_runs(
    known: Expected, few_images: Path, once: Once, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {
        'ADET_DATA_ROOT': few_images,
        'ADET_CATEGORY': 'plate',
        'ADET_MODELS_ROOT': tmp_path / 'models',
        'ADET_BACKBONE_WEIGHTS': weights_of(known.model),
        'ADET_SETTINGS': ' '.join(f'{key}={value}' for key, value in tiny(known.model).items()),
        'ADET_SEED': 1,
        # So little work is slower on several threads.
        'OMP_NUM_THREADS': 1,
        # Neither this user's own settings, nor files among them.
        'IPYTHONDIR': tmp_path / 'ipython',
        'JUPYTER_CONFIG_DIR': tmp_path / 'config',
        'JUPYTER_DATA_DIR': tmp_path / 'share',
        'JUPYTER_RUNTIME_DIR': tmp_path / 'runtime',
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    notebook = read(known.name)
    folders = [str(folder) for folder in Path(__file__).parents[:2]]
    first = TRACE_ONCE.format(folders=folders, model=known.model, folder=str(once.root))
    notebook.cells.insert(0, nbformat.v4.new_code_cell(first))
    notebook.cells.append(nbformat.v4.new_code_cell('import sys; sys.executable'))

    where = {'metadata': {'path': str(FOLDER)}}
    NotebookClient(notebook, timeout=300, kernel_name='python3', resources=where).execute()

    del notebook.cells[0]
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert ast.literal_eval(outputs[-1].data['text/plain']) == sys.executable
    assert sum('image/png' in output.get('data', {}) for output in outputs) == known.figures
    said = [output.text for output in outputs if output.get('name') == 'stderr']
    assert [text for text in said if 'Warning' in text] == []
    text = printed(notebook)
    (run,) = (tmp_path / 'models').glob('*/plate/*')
    assert f'\n{run}\n' in text
    bundle = open_bundle(run / 'pytorch')
    assert bundle.manifest.model == known.model
    assert (run / 'pytorch' / 'engine' / 'model.onnx').is_file()
    exported, trained = re.findall(r'score of the (?:exported|trained).* ([-+.e\d]+)', text)
    assert float(exported) == pytest.approx(
        float(trained), abs=1e-3 * bundle.manifest.score_range.span
    )
    commands = [
        shlex.split(line)[1:]
        for line in text.replace('\\\n', '').splitlines()
        if line.startswith('adet ')
    ]
    assert [words[0] for words in commands] == ['deploy', 'export', 'inspect', 'evaluate', 'tune']
    for words in commands:
        # The command of a package that is not installed here.
        with suppress(AdetError):
            cli._parse(words)
