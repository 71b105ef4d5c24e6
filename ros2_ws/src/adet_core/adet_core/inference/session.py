# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The one place that makes sessions of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
import functools
from io import StringIO
import os
from typing import Any

import onnxruntime

from adet_core.cores import CallersCore, physical_cores
from adet_core.errors import BackendError

CPU, CUDA = 'CPUExecutionProvider', 'CUDAExecutionProvider'
# Ten bits of mantissa are not the fp32 that the trained model was checked with.
CUDA_OPTIONS = {'use_tf32': '0'}
_ERRORS_ONLY = 3
_EXTERNAL_DATA = 'session.model_external_initializers_file_folder_path'
_AFFINITIES = 'session.intra_op_thread_affinities'


def open_session(
    graph: bytes,
    *,
    threads: int,
    providers: Sequence[Any] = (CPU,),
    keep_memory: bool = True,
    settings: Mapping[str, str] | None = None,
) -> onnxruntime.InferenceSession:
    """Load a graph.

    Args:
        graph: An ONNX model.
        threads: Threads of one run; 0 is one per core, whose caller then belongs on
            `core_of_caller`.
        providers: Execution providers of ONNX Runtime, best first; with options, as pairs.
        keep_memory: Whether the memory of a run is kept for the next one.
        settings: Further entries of its configuration.

    Raises:
        BackendError: ONNX Runtime refuses the graph.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if not threads:
        _spread(options)
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    options.enable_cpu_mem_arena = keep_memory
    # Between runs, waiting threads would otherwise spin on cores that others need.
    options.add_session_config_entry('session.force_spinning_stop', '1')
    # No checksum covers data outside of the graph: it is looked for where there is none.
    options.add_session_config_entry(_EXTERNAL_DATA, os.devnull)
    for name, value in (settings or {}).items():
        options.add_session_config_entry(name, value)
    try:
        return onnxruntime.InferenceSession(graph, options, providers=list(providers))
    except Exception as error:  # noqa: BLE001 - its error types are not importable
        raise BackendError(f'cannot load the graph: {first_line(error)}') from None


def _spread(options: onnxruntime.SessionOptions) -> None:
    """One thread on each core, as by default, but on no core that this process may not use."""
    cores = physical_cores()
    if not cores:
        return
    options.intra_op_num_threads = len(cores)
    # The first one is the caller's. ONNX Runtime counts processors from 1.
    others = [','.join(str(number + 1) for number in core) for core in cores[1:]]
    if others:
        options.add_session_config_entry(_AFFINITIES, ';'.join(others))


def core_of_caller(threads: int) -> CallersCore:
    """Where the caller of a run belongs, as the other threads of a session are kept on theirs.

    Args:
        threads: Of `open_session`.
    """
    cores = [] if threads else physical_cores()
    return CallersCore(cores[0] if len(cores) > 1 else [])


def has_cuda() -> bool:
    """Whether this ONNX Runtime was built with CUDA; a GPU may still be missing."""
    return CUDA in onnxruntime.get_available_providers()


def open_cuda_session(graph: bytes, *, threads: int) -> onnxruntime.InferenceSession:
    """Load a graph on the GPU.

    Raises:
        BackendError: ONNX Runtime refuses the graph, or cannot use the GPU.
    """
    problem = _load_cuda()
    session = open_session(graph, threads=threads, providers=[(CUDA, CUDA_OPTIONS), CPU])
    if session.get_providers()[0] != CUDA:
        raise BackendError(f'onnxruntime cannot use the GPU: {problem or "its log says why"}')
    return session


@functools.cache
def _load_cuda() -> str:
    """Load the libraries of CUDA that came as wheels.

    Once for a process, as nothing else is printed meanwhile.

    Returns:
        The first line that ONNX Runtime prints of what it misses; empty if it prints none.
    """
    with redirect_stdout(StringIO()) as told:
        onnxruntime.preload_dlls()
    return next(iter(told.getvalue().splitlines()), '')


def first_line(error: Exception) -> str:
    """The first line of an error of ONNX Runtime; the others are for its developers."""
    # Some errors say nothing, e.g. a lack of memory.
    return (str(error).strip() or type(error).__name__).splitlines()[0]
