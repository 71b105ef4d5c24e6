# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Options of launch files and commands, which start several nodes."""

from __future__ import annotations

from dataclasses import dataclass

from adet.options import (
    BagChoices,
    DetectorChoices,
    ManagedChoices,
    ModelChoices,
    RetrainServerOptions,
    RunChoices,
    SourceChoices,
)
from adet.parameters import option


@dataclass(frozen=True, kw_only=True)
class InspectOptions(SourceChoices, DetectorChoices, RunChoices):
    """What can be chosen for an inspection; launch arguments and command-line options alike."""

    namespace: str = option(
        'namespace of all nodes and topics; of several cameras in one process one each, separated '
        'by commas',
        default='',
    )
    source: str = option(
        'image folder, image or video file, rosbag, camera:N, address of a stream (rtsp://, '
        'http://), gstreamer:PIPELINE, or topic:/NAME of images that another node publishes; of '
        'several cameras as many as namespaces, separated by commas'
    )
    threshold: str = option("raw score of the verdict; empty: the bundle's own", default='')
    publish_rate: float = option(
        'images per second at most; 0: as fast as they come and are inspected',
        default=0.0,
        minimum=0.0,
    )
    bundle: str = option(
        "bundle folder, of several models one each, separated by commas; empty: the models' own "
        'under models_root',
        default='',
    )
    frames: str = option(
        'latest: an image that comes too soon replaces the one that waits; every: all are '
        'inspected, whoever publishes must wait; on_demand: an image is inspected when a service '
        'asks for it; auto: every for what has an end, else latest',
        default='auto',
        choices=('auto', 'latest', 'every', 'on_demand'),
    )
    wait_for: str = option(
        'models, separated by commas, whose rows image_source waits for; empty: nobody; auto: '
        'those of this inspection, with frames: every',
        default='auto',
    )
    expect_info: str = option(
        'whether image_source sends the images and says what they are; auto: unless the source '
        'is a topic',
        default='auto',
        choices=('auto', 'true', 'false'),
    )
    measure_latency: str = option(
        "whether stamps are of the nodes' clock; auto: unless they are of a recording",
        default='auto',
        choices=('auto', 'true', 'false'),
    )
    console: bool = option(
        'show the inspection in a browser of this machine, at http://127.0.0.1:8765',
        default=False,
    )
    params_file: str = option(
        'YAML file with parameters of any of the nodes, as config/inspect.yaml; what it says goes '
        'before the arguments',
        default='',
    )


@dataclass(frozen=True, kw_only=True)
class InspectLaunchOptions(InspectOptions, ManagedChoices):
    """Launch arguments of an inspection: what processes of their own make possible besides."""

    compose: bool = option(
        '`ros2 launch` only: all nodes in one process, which hands images over in its memory; '
        'without respawn and autostart:=false',
        default=False,
    )
    respawn: bool = option(
        '`ros2 launch` only: start a detector or recorder that has ended again, after 2 seconds; '
        'never image_source',
        default=False,
    )
    on_end: str = option(
        'what the end of a node ends. shutdown: the whole launch; keep: the nodes of adet alone, '
        'as in the launch file of a robot; auto: shutdown where this file was launched itself, '
        'keep where another one includes it',
        default='auto',
        choices=('auto', 'shutdown', 'keep'),
    )


@dataclass(frozen=True, kw_only=True)
class RetrainOptions(RetrainServerOptions):
    """Launch arguments of the retraining."""

    namespace: str = option('namespace of the inspection', default='')


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(BagChoices, ModelChoices, RunChoices):
    """Launch arguments of a replay through the live graph."""

    bag: str = option('rosbag to replay')
    report_dir: str = option('folder of the report; empty: report in output_dir', default='')
    rate: float = option(
        'how fast: 1 is as recorded; 0 is as fast as the images are inspected, which only '
        'player:=adet can',
        default=1.0,
        minimum=0.0,
    )
    player: str = option(
        'ros2: `ros2 bag play`, which waits for nobody; adet: image_source, which loses no '
        'image; auto: ros2 where it is installed and can play these images',
        default='auto',
        choices=('auto', 'ros2', 'adet'),
    )
