# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters of the nodes, each written once; `adet.launch_options` inherits what it shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adet.parameters import option, options_of
from adet_core.drift import EXPECTED_DEFECTS
from adet_core.errors import ConfigError
from adet_core.io.camera import CameraSettings


@dataclass(frozen=True, kw_only=True)
class ModelsRoot:
    """Where the models are."""

    models_root: str = option('folder of the deployed models', default='models')


@dataclass(frozen=True, kw_only=True)
class OutputChoices:
    """Where the rows go."""

    output_dir: str = option('folder of the result files', default='.')


@dataclass(frozen=True, kw_only=True)
class ImageChoices:
    """What can be chosen wherever images are read."""

    max_megapixels: float = option(
        'largest image that is read, in millions of pixels; 0: what ADET_MAX_MEGAPIXELS says, or '
        '200',
        default=0.0,
        minimum=0.0,
        maximum=100_000.0,
    )


@dataclass(frozen=True, kw_only=True)
class BagChoices(ImageChoices):
    """What can be chosen wherever a bag is read."""

    bag_topic: str = option(
        'topic of the images in a bag; empty: the only one, or image_raw', default=''
    )


@dataclass(frozen=True, kw_only=True)
class CameraChoices:
    """What can be asked of a camera; `adet_core.io.camera.CameraSettings` without the prefix."""

    camera_format: str = option(
        'camera:N: four letters of the pixel format, e.g. MJPG, which many cameras need for their '
        'full size and rate; empty: as the camera has it',
        default='',
    )
    camera_width: int = option(
        'camera:N: pixels in a row; 0: as the camera has it', default=0, minimum=0, maximum=65_535
    )
    camera_height: int = option(
        'camera:N: rows of pixels; 0: as the camera has it', default=0, minimum=0, maximum=65_535
    )
    camera_rate: float = option(
        'camera:N: images per second; 0: as the camera has it',
        default=0.0,
        minimum=0.0,
        maximum=10_000.0,
    )
    camera_exposure: float = option(
        'camera:N: milliseconds of exposure, which turns the automatic one off; 0: as the camera '
        'has it',
        default=0.0,
        minimum=0.0,
        maximum=60_000.0,
    )


def camera_settings(chosen: CameraChoices) -> CameraSettings:
    """What was chosen, as a camera takes it."""
    values = {spec.name: getattr(chosen, spec.name) for spec in options_of(CameraChoices)}
    return CameraSettings(
        **{name.removeprefix('camera_'): value for name, value in values.items()}
    )


@dataclass(frozen=True, kw_only=True)
class SourceChoices(CameraChoices, BagChoices):
    """What can be chosen for the images, by whoever starts the source."""

    frame_id: str = option(
        'frame of the camera, copied to every result; a bag has its own', default='camera'
    )
    camera_info: str = option(
        'calibration file of the camera (YAML, as camera_calibration writes it): published on '
        'camera_info with each image; empty: none',
        default='',
    )
    loop: bool = option('start again after the last image', default=False)
    replay_rate: float = option(
        'bags: 1 keeps the times between images, 2 halves them; 0: publish_rate alone counts',
        default=0.0,
        minimum=0.0,
    )
    max_in_flight: int = option(
        'images published and not yet recorded, at most', default=3, minimum=1, maximum=16
    )
    clock: bool = option(
        'bags: publish the stamps on /clock, for nodes that live in the time of the recording '
        '(use_sim_time)',
        default=False,
    )


@dataclass(frozen=True, kw_only=True)
class ModelChoices(ModelsRoot):
    """What can be chosen for the models, wherever they run."""

    backend: str = option(
        'what runs the graph: auto, tensorrt, onnxruntime, onnxruntime_plain, onnxruntime_bf16, '
        'openvino or openvino_bf16; auto takes TensorRT where it works, else what it measures as '
        'quickest on this CPU at the first start, and says so',
        default='auto',
    )
    no_build: bool = option(
        'take no TensorRT engine that would have to be built first, which takes minutes on a '
        'small board, and measure no backends',
        default=False,
    )
    threads: int = option(
        'threads of one inference; 0: one per core', default=0, minimum=0, maximum=1024
    )


@dataclass(frozen=True, kw_only=True)
class DetectorChoices(ModelChoices, ImageChoices):
    """What can be chosen for every detector of an inspection."""

    categories: str = option(
        'categories to be ready for, separated by commas, the first one in service; empty: that '
        'of the one bundle of the model',
        default='',
    )
    max_resident: int = option(
        'bundles of categories in memory at most; the one that was not used for the longest time '
        'makes room',
        default=8,
        minimum=1,
        maximum=1000,
    )
    max_waiting: int = option(
        'with frames: every, MiB of images that may wait; beyond, and beyond 16 images, the '
        'oldest are dropped',
        default=256,
        minimum=1,
        maximum=1_000_000,
    )
    reliability: str = option(
        'how images of a camera or topic are read; auto: as their publishers send them',
        default='auto',
        choices=('auto', 'reliable', 'best_effort'),
    )
    image_transport: str = option(
        'which images of a topic are read; auto: raw ones where somebody publishes them, else '
        'compressed ones of the topic itself or of <topic>/compressed',
        default='auto',
        choices=('auto', 'raw', 'compressed'),
    )
    image_timeout: float = option(
        'seconds without an image of a camera or topic until the detector warns; after twice as '
        'many it reports an error. 0: never, as for a line that stands still',
        default=5.0,
        minimum=0.0,
    )
    expected_defects: float = option(
        'share of the parts that may be defective: diagnostics warn of drift when more images '
        'are rejected than these and the good parts that the threshold rejects',
        default=EXPECTED_DEFECTS,
        minimum=0.0001,
        maximum=0.9,
    )
    float_range: list[float] = option(
        '32FC1 images: the values that count as black and as white', default=[0.0, 1.0]
    )
    uint16_range: list[float] = option(
        '16UC1 and mono16 images: the values that count as black and as white, e.g. 300,1500 of '
        'a depth camera in millimetres, or 0,4095 of a camera of 12 bits',
        default=[0.0, 65535.0],
    )
    overlay_rate: float = option(
        'overlays per second at most, while somebody looks at them; 0: one for every image',
        default=15.0,
        minimum=0.0,
    )
    preview_rate: float = option(
        'previews per second at most, while somebody looks at them, as the console does',
        default=15.0,
        minimum=0.1,
        maximum=1000.0,
    )
    preview_width: int = option(
        'pixels of a row of a preview at most', default=1280, minimum=64, maximum=16_384
    )
    data_root: str = option(
        'folder of train and test, where images that somebody marked are stored', default='data'
    )
    save_frames: str = option(
        'images that are stored in review/<category> under data_root for somebody to look at',
        default='none',
        choices=('none', 'uncertain', 'anomalous', 'both'),
    )
    keep_limit: int = option(
        'stored images of each of these folders at most: a full review loses the oldest, the '
        'others take no more',
        default=500,
        minimum=1,
    )


def category_names(chosen: Any) -> list[str]:
    """The categories that somebody named, separated by commas; none if nobody did.

    Raises:
        ConfigError: One is named twice, or a bundle is named as well.
    """
    names = [name.strip() for name in chosen.categories.split(',') if name.strip()]
    if len(set(names)) != len(names):
        msg = f'categories is {chosen.categories!r}: each category may be named once'
        raise ConfigError(msg)
    if names and chosen.bundle:
        msg = 'bundle names one bundle, categories names several under models_root: leave one out'
        raise ConfigError(msg)
    return names


@dataclass(frozen=True, kw_only=True)
class ManagedChoices:
    """What can be chosen for a managed node."""

    autostart: bool = option(
        'configure and activate at once; false: as a lifecycle manager says', default=True
    )


@dataclass(frozen=True, kw_only=True)
class RunChoices(OutputChoices):
    """What every launch of an inspection has."""

    model: str = option('model to inspect with; several are separated by commas', default='padim')
    namespace: str = option('namespace of all nodes and topics', default='')


@dataclass(frozen=True, kw_only=True)
class ImageSourceOptions(SourceChoices, ManagedChoices):
    """Parameters of ``image_source``."""

    source: str = option(
        'image folder, image or video file, rosbag, camera:N, address of a stream (rtsp://, '
        'http://), or gstreamer:PIPELINE'
    )
    publish_rate: float = option(
        'images per second at most; 0: as fast as they come and are wanted. The launch file sets '
        '0',
        default=10.0,
        minimum=0.0,
    )
    wait_for: str = option(
        'models, separated by commas, whose rows must be recorded before an image has left the '
        'flight; empty: nobody is waited for. A camera never waits. The launch file sets the '
        'models',
        default='',
    )


@dataclass(frozen=True, kw_only=True)
class DetectorOptions(DetectorChoices, ManagedChoices):
    """Parameters of a detector; ``threshold`` is declared apart, because it is live."""

    model: str = option(
        'the model name, for the executable detector; empty: as the executable is called',
        default='',
    )
    bundle: str = option("bundle folder; empty: the model's own under models_root", default='')
    frames: str = option(
        'latest: an image that comes too soon replaces the one that waits; '
        'every: all are inspected, whoever publishes must wait; on_demand: an image is inspected '
        'when a service asks for it. The launch file sets every for a folder or video',
        default='latest',
        choices=('latest', 'every', 'on_demand'),
    )


@dataclass(frozen=True, kw_only=True)
class CsvRecorderOptions(OutputChoices, ManagedChoices):
    """Parameters of ``csv_recorder``."""

    models: str = option('models to record, separated by commas', default='padim')
    expect_info: bool = option(
        'image_source sends the images and says what they are; false: another node sends them. '
        'The launch file sets false for a topic',
        default=True,
    )
    measure_latency: bool = option(
        "stamps are of the nodes' clock; false: of a recording, so that their age says nothing",
        default=True,
    )


@dataclass(frozen=True, kw_only=True)
class RetrainServerOptions(ModelsRoot, ImageChoices):
    """Parameters of ``retrain_server``."""

    data_root: str = option('folder of train and test', default='data')
    allowed_root: str = option(
        'goals may name folders inside this one only; empty: data_root', default=''
    )
    threads: int = option(
        'threads of the retraining; 0: one per core', default=0, minimum=0, maximum=1024
    )
    niceness: int = option(
        'how far the retraining stands back behind the inspection, as the command nice has it',
        default=10,
        minimum=0,
        maximum=19,
    )
    idle_s: float = option(
        'seconds that the process of a retraining waits for the next goal before it ends',
        default=15.0,
        minimum=0.0,
        maximum=1e6,
    )
