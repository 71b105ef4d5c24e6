# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Memory, streams and CUDA graphs of both packages, with an engine that only copies.

It needs no TensorRT, so it runs on every NVIDIA GPU; without one, on the stand-in.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import gc
from importlib import import_module
from types import SimpleNamespace

from host_gpu import HostCudaPython, HostDevice, HostPycuda
import numpy as np
import pytest

from adet_core.errors import BackendError
from adet_core.inference.tensorrt.cuda_python import CudaPythonGpu, open_gpu
from adet_core.inference.tensorrt.gpu import find_gpu, RunOptions
from adet_core.inference.tensorrt.library import TensorRtLibrary
from adet_core.inference.tensorrt.pycuda import PycudaGpu
from adet_core.inference.tensorrt.runtime import TensorRtBackend

pytestmark = pytest.mark.training

EDGE, MOST = 32, 4
PIXELS, LEVEL = (EDGE, EDGE, 3), (EDGE, EDGE)


class CopyingEngine:
    """Its score is an image's first four bytes, its map the input ``level``."""

    def __init__(self, copy):
        self.copy = copy

    def get_tensor_profile_shape(self, name, profile):
        assert profile == 0
        return [LEVEL] * 3 if name == 'level' else [(n, *PIXELS) for n in (1, 1, MOST)]

    def create_execution_context(self):
        return CopyingContext(self.copy)


class CopyingContext:
    def __init__(self, copy):
        self._copy, self._at, self._count = copy, {}, 0

    def set_input_shape(self, name, shape):
        if name == 'image':
            self._count = shape[0]

    def set_tensor_address(self, name, address):
        self._at[name] = address

    def execute_async_v3(self, stream):
        for number in range(self._count):
            image = self._at['image'] + number * EDGE * EDGE * 3
            self._copy(self._at['score'] + 4 * number, image, 4, stream)
            size = 4 * EDGE * EDGE
            self._copy(self._at['anomaly_map'] + size * number, self._at['level'], size, stream)
        return True


class Level:
    """Takes the place of the graph's own transform of statistics."""

    @property
    def shapes(self):
        return {'level': LEVEL}

    def __call__(self, statistics):
        return {'level': np.full(LEVEL, statistics['level'], np.float32)}


def engine_of(engine):
    """A TensorRT that loads this engine."""

    class Logger:
        pass

    runtime = SimpleNamespace(deserialize_cuda_engine=lambda plan: engine if plan else None)
    api = SimpleNamespace(ILogger=Logger, Runtime=lambda _: runtime)
    return TensorRtLibrary('tensorrt', '10.0', api)


def images(scores):
    found = np.zeros((len(scores), EDGE * EDGE * 3), np.uint8)
    found[:, :4] = np.array(scores, np.float32)[:, None].view(np.uint8)
    return found.reshape(-1, *PIXELS)


@pytest.fixture
def machine(request):
    """A GPU, and how its engine copies."""
    package, _, stand_in = request.param.partition(' ')
    if stand_in:
        device = HostDevice()
        kinds = {
            'cuda-python': lambda: CudaPythonGpu(HostCudaPython(device, 'RTX', '8.6')),
            'pycuda': lambda: PycudaGpu(HostPycuda(device, 'RTX', '8.6')),
        }
        return kinds[package](), lambda to, of, size, at: device.streams[at].copy(to, of, size)
    module = 'cuda_python' if package == 'cuda-python' else 'pycuda'
    try:
        # First: whether there is any GPU.
        find_gpu()
        gpu = import_module(f'adet_core.inference.tensorrt.{module}').open_gpu()
    except (BackendError, ImportError) as error:
        pytest.skip(str(error))
    call = open_gpu()._call
    kind = call.api.cudaMemcpyKind.cudaMemcpyDeviceToDevice
    return gpu, lambda to, of, size, at: call('cudaMemcpyAsync', to, of, size, kind, at)


both = pytest.mark.parametrize(
    'machine',
    [
        pytest.param('cuda-python', marks=pytest.mark.gpu),
        pytest.param('pycuda', marks=pytest.mark.gpu),
        'cuda-python stand-in',
        'pycuda stand-in',
    ],
    indirect=True,
)


def backend_of(machine, **options):
    gpu, copy = machine
    library = engine_of(CopyingEngine(copy))
    return TensorRtBackend(library, gpu, b'plan', Level(), RunOptions(**options))


def check(backend, scores, level):
    found = backend.run(images(scores))
    np.testing.assert_array_equal(found.scores, np.array(scores, np.float32))
    assert found.maps.shape == (len(scores), *LEVEL)
    assert (found.maps == level).all()


@both
@pytest.mark.parametrize('zero_copy', [False, True])
@pytest.mark.parametrize('graphs', [False, True])
@pytest.mark.parametrize('streams', [1, 2])
def test_every_way_to_run_gives_the_same(machine, streams, graphs, zero_copy):
    backend = backend_of(machine, streams=streams, graphs=graphs, zero_copy=zero_copy)
    for level in (1.0, 2.5):
        backend.bind({'level': level})
        for first in range(5):
            check(backend, [first + 0.5], level)
        # Two batches of the engine, and a part of one.
        check(backend, list(range(2 * MOST + 1)), level)
        started = [backend.start(images([number])) for number in range(7)]
        assert [finish().scores[0] for finish in started[::-1]] == list(range(7))[::-1]


@both
def test_bundles_are_swapped_while_another_thread_inspects(machine):
    gpu, _ = machine
    current = [backend_of(machine)]
    current[0].bind({'level': 0})

    def inspect(count):
        for number in range(count):
            found = current[0].run(images([number]))
            level = found.maps[0, 0, 0]
            assert found.scores[0] == number
            assert (found.maps == level).all()
        return level

    def swap(number):
        other = current[0].fork()
        other.bind({'level': number})
        current[0] = other

    def free():
        gc.collect()
        with gpu.current():
            return gpu.free_memory()

    swap(0)
    before = free()
    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(inspect, 2000)
        for number in range(1, 51):
            swap(number)
        busy.result()
        assert pool.submit(inspect, 3).result() == 50
    assert free() >= before - (2 << 20)


@both
def test_too_much_memory_is_refused_and_nothing_is_lost(machine):
    gpu, _ = machine
    backend = backend_of(machine)
    backend.bind({'level': 1})
    with pytest.raises(BackendError, match='is out of memory'), gpu.current():
        gpu.memory(1 << 50)
    check(backend, [1.0], 1)


@pytest.mark.parametrize('machine', ['cuda-python stand-in'], indirect=True)
def test_a_plan_that_tensorrt_refuses_is_named(machine):
    gpu, copy = machine
    with pytest.raises(BackendError, match='cannot load the engine on RTX: it gives no reason'):
        TensorRtBackend(engine_of(CopyingEngine(copy)), gpu, b'', Level(), RunOptions())
