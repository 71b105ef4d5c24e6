# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The public API: `from adet_core import NAME`."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import adet_core

NAMES = [
    'AdetError',
    'Bundle',
    'Detector',
    'Image',
    'Inspection',
    'Prediction',
    'Record',
    '__version__',
    'open_bundle',
    'open_source',
    'read_image',
    'retrain',
    'rollback',
]


def _python(code: str) -> Any:
    """What a fresh interpreter prints as JSON."""
    command = [sys.executable, '-c', code]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_the_exported_names() -> None:
    assert adet_core.__all__ == NAMES
    assert set(NAMES) <= set(dir(adet_core))
    for name in NAMES:
        assert getattr(adet_core, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'retrian'"):
        _ = adet_core.retrian


def test_import_star_gives_the_exported_names() -> None:
    code = 'import json; from adet_core import *; print(json.dumps(sorted(globals())))'
    assert set(NAMES) <= set(_python(code))


def test_importing_the_package_loads_no_library() -> None:
    code = 'import json, sys, adet_core; print(json.dumps(sorted(sys.modules)))'
    loaded = _python(code)
    assert 'adet_core' in loaded
    assert not {'cv2', 'numpy', 'onnx', 'onnxruntime', 'rich'} & set(loaded)


def test_no_module_hides_an_exported_name() -> None:
    """An import of the submodule `adet_core.NAME` would replace the name by the module."""
    code = (
        'import json, pkgutil, adet_core;'
        'print(json.dumps([found.name for found in pkgutil.iter_modules(adet_core.__path__)]))'
    )
    assert not set(NAMES) & set(_python(code))
