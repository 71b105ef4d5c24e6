# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Engines in service: which one is taken, how it is checked, and how it is run from many threads.

Where there is no GPU, `host_gpu` stands in for it; the tests marked ``gpu`` need a real one.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import gc
import shutil

from host_gpu import HostCudaPython, HostDevice, HostPycuda, HostTensorRt
import numpy as np
import pytest

from adet_core.bundle import BuildOptions, copy_bundle, open_bundle, read_engine, read_record
from adet_core.errors import BackendError, ConfigError
from adet_core.image import read_image
from adet_core.inference.backend import BackendRequest
from adet_core.inference.detector import Detector
from adet_core.inference.statistics_transform import GraphInputs
from adet_core.inference.tensorrt import build_plan, find_gpu, find_library, open_tensorrt
from adet_core.inference.tensorrt.build import length_range
from adet_core.inference.tensorrt.cuda_python import CudaPythonGpu
from adet_core.inference.tensorrt.gpu import CudaError, RunOptions
from adet_core.inference.tensorrt.pycuda import PycudaGpu
from adet_core.inference.tensorrt.runtime import TensorRtBackend
from adet_core.io.folders import list_images
from adet_training.export import export

pytestmark = pytest.mark.training


@pytest.fixture
def robot(deployed, tmp_path):
    """A PaDiM's folder, to be written to."""
    return shutil.copytree(deployed.bundle, tmp_path / 'PaDiM')


class Host:
    """A machine with the GPU that is none.

    Attributes:
        device: Its GPU.
        package: What it is used through.
        builds: How many engines were built.
    """

    def __init__(self, monkeypatch, package):
        pytest.importorskip('tensorrt_rtx')
        real = find_library()
        self.device, self.package, self.builds = HostDevice(), package, 0
        self.api = HostTensorRt(real.api, self.device)
        self._patch, self._library = monkeypatch, real._replace(api=self.api)
        monkeypatch.setattr(
            'adet_core.inference.tensorrt.backend.find_library', lambda: self._library
        )
        monkeypatch.setattr('adet_core.inference.tensorrt.backend.build_plan', self._build)
        self.has('RTX', '8.6')

    def has(self, name, capability):
        """Exchange its GPU."""
        kinds = {
            'pycuda': (PycudaGpu, HostPycuda),
            'cuda-python': (CudaPythonGpu, HostCudaPython),
        }
        gpu, cuda = kinds[self.package]
        self.cuda = cuda(self.device, name, capability)
        self.gpu = gpu(self.cuda)
        self._patch.setattr('adet_core.inference.tensorrt.backend.find_gpu', lambda: self.gpu)

    def open(self, bundle, **options):
        """Run a bundle's graph as an engine of four images at most that nobody had to build."""
        graph = read_engine(bundle)
        make = GraphInputs(graph)
        shapes = {name: [array.shape] * 3 for name, array in make(bundle.statistics()).items()}
        self.api.built[b'plan'] = (graph.onnx, _Ranges(shapes, 4))
        backend = TensorRtBackend(self._library, self.gpu, b'plan', make, RunOptions(**options))
        backend.bind(bundle.statistics())
        return backend

    def upgrade(self, version):
        """Exchange its TensorRT."""
        self._library = self._library._replace(version=version)

    def _build(self, library, graph, shapes, precision, options, **others):
        self.builds += 1
        plan, timings = build_plan(library, graph, shapes, precision, options, **others)
        # Two builds of one graph are the same bytes, but not to TensorRT.
        plan += self.builds.to_bytes(2, 'big')
        ranges = {name: [tuple(shape)] * 3 for name, shape in shapes.items()}
        for name, axis in (('bank', 0), ('search', 1)):
            if name in shapes:
                ranges[name] = list(
                    zip(
                        *(
                            length_range(n) if place == axis else (n,) * 3
                            for place, n in enumerate(shapes[name])
                        ),
                        strict=True,
                    )
                )
        self.api.built[plan] = (graph, _Ranges(ranges, options.max_batch))
        return plan, timings


class _Ranges(dict):
    """Also of the images, whose size is the graph's."""

    def __init__(self, ranges, batch):
        super().__init__(ranges)
        self._batch = batch

    def __missing__(self, name):
        assert name == 'image'
        return [(n, 64, 64, 3) for n in (1, 1, self._batch)]


@pytest.fixture(params=['cuda-python'])
def host(monkeypatch, request):
    return Host(monkeypatch, request.param)


both_packages = pytest.mark.parametrize('host', ['cuda-python', 'pycuda'], indirect=True)


def images(deployed, count=6):
    return [read_image(path) for path in list_images(deployed.test_folder)[:count]]


def scores(detector, found):
    return [detector.inspect(image).score for image in found]


def test_an_engine_is_built_compared_and_kept(host, robot, deployed):
    stages = []
    detector = Detector.load(robot, progress=lambda *told: stages.append(told))
    assert detector.backend.name.startswith('tensorrt_rtx ')
    assert '(RTX, fp32, scores within ' in detector.backend.name
    assert detector.backend_reason == ''
    assert stages[0] == ('building the engine', 0, None)
    record = read_record(open_bundle(robot)).plan
    assert record.parity.holds
    assert record.parity.pictures == len(open_bundle(robot).golden().prediction.scores)
    found = images(deployed)
    expected = scores(Detector.load(robot, backend='onnxruntime'), found)
    np.testing.assert_allclose(scores(detector, found), expected, rtol=1e-5)
    again = Detector.load(robot, build=False)
    assert again.backend.name == detector.backend.name
    assert host.builds == 1


@pytest.mark.parametrize('change', ['gpu', 'capability', 'version', 'export', 'plan'])
def test_an_engine_that_is_stale_or_broken_is_built_again(host, robot, change):
    Detector.load(robot)
    plan = robot / 'engine' / 'model.plan'
    before = plan.read_bytes()
    if change in {'gpu', 'capability'}:
        host.has(*(('A10', '8.6') if change == 'gpu' else ('RTX', '12.0')))
    elif change == 'version':
        host.upgrade('99.0')
    elif change == 'plan':
        plan.write_bytes(before[:-1])
    else:
        export(open_bundle(robot), options=BuildOptions(max_batch=2))
    with pytest.raises(BackendError, match=r'; nothing may be built here: leave --no-build out'):
        Detector.load(robot, backend='tensorrt', build=False)
    assert Detector.load(robot).backend_reason == ''
    assert host.builds == 2
    assert plan.read_bytes() != before


def test_without_building_onnx_runtime_is_taken_and_says_why(host, robot):
    detector = Detector.load(robot, build=False)
    assert detector.backend.name.startswith('onnxruntime')
    assert detector.backend_reason.startswith('not tensorrt: no engine has been built yet;')
    assert host.builds == 0


def test_an_engine_that_disagrees_is_not_used(host, robot, monkeypatch):
    run = host.api.deserialize_cuda_engine

    def wrong(plan):
        engine = run(plan)
        answer = engine.session.run
        # As a kernel that is chosen badly may do.
        engine.session = OtherSession(engine.session, lambda *a: [x + 1 for x in answer(*a)])
        return engine

    monkeypatch.setattr(host.api, 'deserialize_cuda_engine', wrong)
    for _ in range(2):
        with pytest.raises(
            BackendError, match=r'the fp32 engine of .* differs .*: it is not used'
        ):
            Detector.load(robot, backend='tensorrt')
    detector = Detector.load(robot)
    assert detector.backend.name.startswith('onnxruntime')
    assert 'it is not used' in detector.backend_reason
    assert read_record(open_bundle(robot)).plan.parity is None
    assert host.builds == 1


class OtherSession:
    """An ONNX Runtime session whose outputs are exchanged."""

    def __init__(self, session, run):
        self.get_inputs, self.get_outputs, self.run = session.get_inputs, session.get_outputs, run


def test_an_engine_in_fp16_says_how_far_it_drifts(host, deployed, tmp_path):
    bundle = copy_bundle(open_bundle(deployed.bundle), tmp_path / 'robot' / 'PaDiM')
    export(bundle, precision='fp16')
    detector = Detector.load(bundle.folder)
    assert '(RTX, fp16, scores within ' in detector.backend.name
    assert read_record(bundle).plan.parity.flips == 0
    assert read_record(bundle).plan.parity.score_difference > 0
    assert host.builds == 1


@both_packages
def test_statistics_are_replaced_without_another_engine(host, trained, tmp_path):
    folder = shutil.copytree(trained('patchcore').robot.folder, tmp_path / 'PatchCore')
    bundle = open_bundle(folder)
    first = open_tensorrt(BackendRequest(bundle=bundle, graph=read_engine(bundle)))
    bank = bundle.statistics()['memory_bank']
    golden = bundle.golden()
    first.bind({'memory_bank': bank})
    other = first.fork()
    other.bind({'memory_bank': np.concatenate([bank, bank[::-1] + 1])})
    np.testing.assert_allclose(
        first.run(golden.images).scores, golden.prediction.scores, rtol=1e-3
    )
    used = host.device.used
    for _ in range(3):
        # What is far from all images changes no score.
        other.bind({'memory_bank': np.concatenate([bank, bank + 1])})
    # Twice the bank, and the one before is given back.
    assert host.device.used == used
    np.testing.assert_allclose(
        other.run(golden.images).scores, golden.prediction.scores, rtol=1e-3
    )
    with pytest.raises(BackendError, match=r"the engine takes 'bank' of .* has to be built again"):
        other.bind({'memory_bank': np.repeat(bank, 1 + 16384 // len(bank), axis=0)})
    np.testing.assert_allclose(
        other.run(golden.images).scores, golden.prediction.scores, rtol=1e-3
    )
    assert host.builds == 1


@both_packages
def test_two_threads_run_two_forks(host, robot, deployed):
    first = Detector.load(robot)
    second = Detector.load(robot, beside=[first])
    assert host.builds == 1
    found = images(deployed)
    expected = scores(first, found)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(scores, one, found * 5) for one in (first, second)]
        assert [one.result() for one in both] == [expected * 5] * 2


@both_packages
def test_memory_is_given_back_by_whatever_thread_is_the_last(host, robot):
    first = Detector.load(robot)
    used = host.device.used
    detectors = [Detector.load(robot, beside=[first]) for _ in range(3)]
    assert host.device.used > used
    with ThreadPoolExecutor(1) as pool:
        pool.submit(detectors.clear).result()
    gc.collect()
    assert host.device.used == used


def test_a_gpu_that_this_tensorrt_does_not_know_is_refused_before_a_build(host, robot):
    host.has('NVIDIA H100', '9.0')
    reason = r'tensorrt_rtx .* does not run on NVIDIA H100, of compute capability 9.0; install'
    with pytest.raises(BackendError, match=reason):
        Detector.load(robot, backend='tensorrt')
    assert 'does not run on NVIDIA H100' in Detector.load(robot).backend_reason
    assert host.builds == 0
    # It builds for the GPUs to come, too.
    for capability in ('8.6', '12.1', '13.0'):
        host.gpu.capability = capability
        find_library().check(host.gpu.name, host.gpu.capability)


@pytest.mark.usefixtures('host')
def test_images_come_in_batches_of_the_engine(deployed, tmp_path):
    bundle = copy_bundle(open_bundle(deployed.bundle), tmp_path / 'robot' / 'PaDiM')
    export(bundle, options=BuildOptions(max_batch=3))
    detector = Detector.load(bundle.folder)
    golden = bundle.golden()
    images = np.concatenate([golden.images, golden.images])
    answer = detector.backend.run(images)
    np.testing.assert_allclose(answer.scores, np.tile(golden.prediction.scores, 2), rtol=1e-3)
    np.testing.assert_allclose(
        answer.maps, np.tile(golden.prediction.maps, (2, 1, 1)), atol=1e-3, rtol=1e-3
    )


@both_packages
@pytest.mark.parametrize('options', [{'streams': 1}, {'zero_copy': True}, {'graphs': False}, {}])
def test_images_that_were_started_are_finished_in_any_order(host, deployed, options):
    bundle = open_bundle(deployed.bundle)
    golden, backend = bundle.golden(), host.open(bundle, **options)
    # Twice, as graphs are recorded the second time; more at once than there are streams.
    for _ in range(2):
        started = [backend.start(image[None]) for image in golden.images[:3]]
        scores = [finish().scores[0] for finish in reversed(started)][::-1]
        np.testing.assert_allclose(scores, golden.prediction.scores[:3], rtol=1e-3)
        # As often as one likes.
        assert started[0]().scores[0] == scores[0]


def test_a_graph_is_recorded_anew_for_other_statistics_and_batches(host, deployed):
    bundle = open_bundle(deployed.bundle)
    golden, backend = bundle.golden(), host.open(bundle, streams=1)
    one, four = golden.images[:1], golden.images[:4]
    plain = host.open(bundle, graphs=False)

    def launches(images, times):
        before = host.device.launches
        for _ in range(times):
            expected = plain.run(images).scores
            np.testing.assert_array_equal(backend.run(images).scores, expected)
        return host.device.launches - before

    # TensorRT wants to run once before it is recorded.
    assert launches(one, 3) == 2
    other = {name: array + np.float32(0.01) for name, array in bundle.statistics().items()}
    for each in (backend, plain):
        each.bind(other)
    assert launches(one, 3) == 2
    assert launches(four, 3) == 2
    assert 'CUDA graphs' not in backend.name


def test_what_cannot_be_recorded_is_run_and_said(host, deployed):
    bundle = open_bundle(deployed.bundle)
    golden, backend = bundle.golden(), host.open(bundle, streams=1)
    host.cuda.refuses_to_record = True
    for _ in range(3):
        np.testing.assert_allclose(
            backend.run(golden.images[:1]).scores, golden.prediction.scores[:1], rtol=1e-3
        )
    assert host.device.launches == 0
    assert 'without CUDA graphs: cudaStreamBeginCapture: not permitted' in backend.name


def test_pycuda_has_no_graphs_and_says_so(monkeypatch, deployed):
    host = Host(monkeypatch, 'pycuda')
    bundle = open_bundle(deployed.bundle)
    assert 'without CUDA graphs: pycuda has none' in host.open(bundle).name
    assert 'CUDA graphs' not in host.open(bundle, graphs=False).name


def test_what_fails_after_it_was_started_fails_for_whoever_started_it(host, deployed):
    bundle = open_bundle(deployed.bundle)
    golden, backend = bundle.golden(), host.open(bundle, streams=1)
    first = backend.start(golden.images[:1])
    host.device.lost = 'unspecified launch failure'
    second = backend.start(golden.images[1:2])
    for finish in (first, second, first):
        with pytest.raises(BackendError, match=r'RTX failed .*launch failure'):
            finish()


def test_cuda_python_takes_what_it_is_given():
    api = pytest.importorskip('cuda.bindings.runtime')
    kind = api.cudaMemcpyKind.cudaMemcpyHostToDevice
    mode = api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    graph, ready = api.cudaGraph_t(), api.cudaGraphExec_t()
    if api.cudaGetDeviceCount()[0] == api.cudaError_t.cudaSuccess:
        pytest.skip('with a GPU, addresses that are none would end the process')
    for function, arguments in {
        'cudaSetDevice': (0,),
        'cudaMalloc': (10,),
        'cudaFree': (64,),
        'cudaHostAlloc': (10, api.cudaHostAllocMapped),
        'cudaHostGetDevicePointer': (64, 0),
        'cudaFreeHost': (64,),
        'cudaMemcpyAsync': (64, 128, 10, kind, 7),
        'cudaStreamCreateWithFlags': (api.cudaStreamNonBlocking,),
        'cudaStreamSynchronize': (7,),
        'cudaStreamDestroy': (7,),
        'cudaStreamBeginCapture': (7, mode),
        'cudaStreamEndCapture': (7,),
        'cudaGraphInstantiate': (graph, 0),
        'cudaGraphLaunch': (ready, 7),
        'cudaGraphExecDestroy': (ready,),
        'cudaGraphDestroy': (graph,),
    }.items():
        # Not a TypeError: it is only the driver that is missing.
        assert getattr(api, function)(*arguments)[0] != api.cudaError_t.cudaSuccess, function
    with pytest.raises(CudaError, match='cudaSetDevice: CUDA driver version is insufficient'):
        CudaPythonGpu(api)


@pytest.mark.parametrize(
    ('variable', 'value', 'expected'),
    [
        ('ADET_CUDA', 'opencl', 'auto, cuda-python, pycuda'),
        ('ADET_CUDA_GRAPHS', 'yes', '1, 0'),
        ('ADET_CUDA_STREAMS', '3', '2, 1'),
        ('ADET_CUDA_ZERO_COPY', 'no', '0, 1'),
    ],
)
def test_options_of_the_environment_are_checked(monkeypatch, variable, value, expected):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=f"{variable} is '{value}', expected one of: {expected}"):
        RunOptions.from_environment()
    monkeypatch.setenv(variable, expected.split(', ')[-1])
    assert RunOptions.from_environment() != RunOptions()


@both_packages
def test_a_device_without_memory_is_named(host, robot):
    first = Detector.load(robot)
    host.device.limit = host.device.used + 1000
    with pytest.raises(BackendError, match=r'RTX is out of memory .*; run fewer models'):
        first.backend.fork()
    # The one in service goes on.
    assert np.isfinite(first.backend.run(np.zeros((1, 64, 64, 3), np.uint8)).scores).all()


@both_packages
def test_a_lost_device_is_an_error_for_every_image(host, robot, deployed):
    detector = Detector.load(robot)
    host.device.lost = 'unspecified launch failure'
    for image in images(deployed, 2):
        with pytest.raises(BackendError, match=r'RTX failed .*launch failure.*; start the node'):
            detector.inspect(image)


@pytest.mark.usefixtures('host')
def test_images_that_do_not_fit_are_refused(robot):
    backend = Detector.load(robot).backend
    with pytest.raises(BackendError, match='the graph takes uint8 images of 64x64x3'):
        backend.run(np.zeros((1, 32, 64, 3), np.uint8))
    with pytest.raises(BackendError, match='the graph needs the statistics'):
        backend.fork().run(np.zeros((1, 64, 64, 3), np.uint8))
    with pytest.raises(BackendError, match='gives no features'):
        backend.features(np.zeros((1, 64, 64, 3), np.uint8))


def test_a_machine_without_tensorrt_says_so(robot, monkeypatch):
    monkeypatch.setattr('adet_core.inference.tensorrt.library._NAMES', ('no_such_tensorrt',))
    detector = Detector.load(robot)
    assert detector.backend.name.startswith('onnxruntime')
    assert detector.backend_reason.startswith('not tensorrt: TensorRT is not installed (No module')
    with pytest.raises(BackendError, match='TensorRT is not installed'):
        Detector.load(robot, backend='tensorrt')


def test_a_machine_without_a_gpu_says_so(robot):
    pytest.importorskip('tensorrt_rtx')
    if not isinstance(GPU, str):
        pytest.skip('there is one')
    assert Detector.load(robot).backend_reason == f'not tensorrt: {GPU}'


# ---- with a real one


def _gpu():
    try:
        find_library()
        return find_gpu()
    except BackendError as error:
        return str(error)


GPU = _gpu()


@pytest.fixture
def gpu():
    if isinstance(GPU, str):
        pytest.skip(GPU)
    return GPU


@pytest.mark.gpu
@pytest.mark.parametrize('precision', ['fp32', 'fp16'])
@pytest.mark.parametrize('model', ['padim', 'patchcore', 'efficientad', 'vae'])
@pytest.mark.usefixtures('gpu')
def test_every_engine_gives_the_scores_of_the_trained_model(trained, tmp_path, model, precision):
    bundle = copy_bundle(trained(model).robot, tmp_path / model)
    export(bundle, precision=precision)
    detector = Detector.load(bundle.folder, backend='tensorrt')
    assert read_record(bundle).plan.parity.holds
    golden = bundle.golden()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(detector.backend.run, golden.images).result()
    allowed = {'fp32': 1e-3, 'fp16': 0.05}[precision] * bundle.manifest.score_range.span
    np.testing.assert_allclose(answer.scores, golden.prediction.scores, atol=allowed)
    Detector.load(bundle.folder, backend='tensorrt', build=False)


@pytest.mark.gpu
def test_a_real_device_gives_memory_back(gpu, robot):
    first = Detector.load(robot, backend='tensorrt')

    def free():
        gc.collect()
        with gpu.current():
            return gpu.free_memory()

    # The first fork may set things up that stay.
    Detector.load(robot, beside=[first])
    before = free()
    for _ in range(20):
        Detector.load(robot, beside=[first])
    assert free() >= before - (8 << 20)
