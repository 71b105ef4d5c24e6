# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet export --precision auto``: the quickest precision here that passes the gate."""

from __future__ import annotations

from statistics import median
from typing import NamedTuple

from adet_core.bundle import BuildOptions, Bundle, ExportedGraph, read_engine
from adet_core.errors import ExportError
from adet_core.inference.backend import Backend, BackendRequest, open_backend
from adet_core.inference.choice import quickest, time_in_turns
from adet_core.inference.machine import describe_cpu
from adet_core.inference.onnxruntime import OnnxRuntimeBackend
from adet_core.inference.session import has_cuda
from adet_core.progress import ProgressCallback, silent
from adet_training.dataset import Category
from adet_training.export import Export, export, NotAcceptedError

# Instructions for products of int8, on x86 and on Arm.
_INT8 = ('avx512_vnni', 'avx_vnni', 'amx_int8', 'i8mm', 'asimddp')


class AutoExport(NamedTuple):
    """What was exported.

    Attributes:
        exported: The result of the export that is in service.
        precision: Its precision.
        note: What was measured, and what was left out and why.
    """

    exported: Export
    precision: str
    note: str


def export_quickest(
    bundle: Bundle,
    *,
    data: Category | None = None,
    options: BuildOptions | None = None,
    progress: ProgressCallback = silent,
) -> AutoExport:
    """Export in fp32, and in a lower precision where that is quicker here by a twentieth.

    The lower ones are int8, and fp16 where ONNX Runtime has a GPU; fp32 runs as ``backend: auto``
    runs it, which has bfloat16 among its choices. A lower one has to pass its gate first.

    Args:
        bundle: As it was deployed.
        data: See `adet_training.export.export`; None leaves int8 out.
        options: See there.
        progress: Told the progress.

    Raises:
        BackendError: The graph cannot be run here.
        BundleError: A file of the bundle is missing or damaged.
        ConfigError: An option makes no sense.
        ExportError: Even the graph in fp32 does not predict what the trained model does.
    """
    best = AutoExport(export(bundle, options=options, progress=progress), 'fp32', '')
    request = BackendRequest(bundle=bundle, graph=read_engine(bundle), progress=progress)
    opened = open_backend('auto', request)
    names = {'fp32': f'fp32 ({opened.choice})'}
    times: dict[str, float] = {}
    left_out = {} if data else {'int8': 'there are no images to calibrate it on, see --data-root'}
    if not has_cuda():
        left_out['fp16'] = 'it is for GPUs'
    backends: dict[str, Backend] = {'fp32': opened.backend}
    for precision in ('fp16', 'int8'):
        if precision in left_out:
            continue

        def is_quicker(graph: ExportedGraph, precision: str = precision) -> bool:
            backend = OnnxRuntimeBackend(graph)
            backend.bind(bundle.statistics())
            turns = time_in_turns({**backends, precision: backend}, bundle.golden().images)
            times.update({names.get(name, name): median(own) for name, own in turns.items()})
            if quickest(turns) != precision:
                return False
            # What the next one has to beat.
            backends.clear()
            backends[precision] = backend
            return True

        try:
            made = export(
                bundle,
                precision=precision,
                data=data,
                options=options,
                accept=is_quicker,
                progress=progress,
            )
        except NotAcceptedError:
            continue
        except ExportError as error:
            left_out[precision] = str(error).replace('; nothing was written', '')
            continue
        best = AutoExport(made, precision, '')
    return best._replace(note=_note(times, left_out))


def _note(times: dict[str, float], left_out: dict[str, str]) -> str:
    measured = ', '.join(f'{name} {value * 1e3:.3g} ms' for name, value in times.items())
    parts = [f'measured on this machine: {measured}'] if measured else ['nothing to measure']
    parts += [f'not {name}: {reason}' for name, reason in left_out.items()]
    flags = describe_cpu().get('flags', '').split()
    if not any(one.startswith(_INT8) for one in flags):
        parts.append('this CPU has no instructions for int8, a robot that has them may differ')
    return '; '.join(parts)
