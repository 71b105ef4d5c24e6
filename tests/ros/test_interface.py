# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What the running nodes offer is what the reference, the layouts and the security policy say."""

from __future__ import annotations

import ast
import importlib
import json
from pathlib import Path
import re
import shlex
import time
from typing import NamedTuple
from xml.etree import ElementTree

from adet_interfaces.msg import AnomalyResult
from diagnostic_msgs.msg import DiagnosticArray
from docs_sources import endpoints
import pytest
from rclpy.action import get_action_server_names_and_types_by_node
from robot import CALIBRATION
from shell_blocks import blocks_of, PAGES, ROOT
import yaml

from adet.conversions import HAS_VISION_MSGS
from adet.node import LOG_LEVELS
from adet.nodes.csv_recorder import CsvRecorder
from adet.nodes.image_source import ImageSource
from adet.nodes.retrain_server import RetrainServer
from adet_core.io.open_source import open_source
from adet_evaluation.bags import BagOptions, record_images

pytestmark = pytest.mark.ros

CONFIG = ROOT / 'ros2_ws' / 'src' / 'adet' / 'config'
NODES = ('image_source', 'padim_detector', 'csv_recorder', 'retrain_server')
# Every node of rclpy has these, whoever wrote it.
RCLPY_TOPICS = re.compile(r'/rosout|/parameter_events|\w+/transition_event')
RCLPY_SERVICE = re.compile(
    r'\w+/(\w*parameter\w*|get_type_description|change_state|get_state|get_available_\w+|'
    r'get_transition_graph|[gs]et_logger_levels)'
)
# Only where its message package is installed.
OPTIONAL = set() if HAS_VISION_MSGS else {'padim/detections'}
PROFILES = {
    'every frame': ('RELIABLE', 'TRANSIENT_LOCAL'),
    'newest only': ('RELIABLE', 'VOLATILE'),
    'latched': ('RELIABLE', 'TRANSIENT_LOCAL'),
    'reliable, depth 10': ('RELIABLE', 'VOLATILE'),
}


class Offer(NamedTuple):
    """What one running node has, names without the test's namespace."""

    publishes: set[str]
    subscribes: set[str]
    serves: set[str]
    acts: set[str]


class Graph:
    """The running nodes, as DDS shows them."""

    def __init__(self, client, namespace):
        self._client, self._namespace = client, namespace

    def offer(self, node):
        where = (node, self._namespace)
        return Offer(
            self._names(self._client.get_publisher_names_and_types_by_node(*where)),
            self._names(self._client.get_subscriber_names_and_types_by_node(*where)),
            self._names(self._client.get_service_names_and_types_by_node(*where)),
            self._names(get_action_server_names_and_types_by_node(self._client, *where)),
        )

    def all_names(self):
        return set().union(*(names for node in NODES for names in self.offer(node)))

    def profiles(self, topic, kind):
        """Reliability and durability of the ends of a topic."""
        full = topic if topic.startswith('/') else f'{self._namespace}/{topic}'
        ends = getattr(self._client, f'get_{kind}_info_by_topic')(full)
        return {
            (end.qos_profile.reliability.name, end.qos_profile.durability.name)
            for end in ends
            if end.node_namespace == self._namespace
        }

    def _names(self, found):
        return {
            name.removeprefix(f'{self._namespace}/')
            for name, _ in found
            # What an action is made of.
            if '/_action/' not in name
        }


@pytest.fixture(scope='module')
def graph(module_ros, deployed, tmp_path_factory):
    """All nodes of adet, over a bag and in its time, so that they have all topics there are."""
    ros, folder = module_ros, tmp_path_factory.mktemp('graph')
    source = open_source(str(deployed.test_folder))
    record_images(source, folder / 'bag', BagOptions(start_ns=time.time_ns()))
    clocked = {'use_sim_time': True}
    roots = {'models_root': str(deployed.models_root), 'data_root': str(deployed.data_root)}
    ros.start(CsvRecorder, output_dir=str(folder), **clocked)
    ros.detector(deployed, **clocked)
    ros.start(RetrainServer, **roots, **clocked)
    bag = str(folder / 'bag')
    calibration = folder / 'camera.yaml'
    calibration.write_text(CALIBRATION)
    more = {'camera_info': str(calibration)}
    ros.start(ImageSource, source=bag, clock=True, loop=True, wait_for='padim', **more)
    made = Graph(ros.client, ros.namespace)

    def whole():
        found = ros.client.get_node_names_and_namespaces()
        return {(node, ros.namespace) for node in NODES} <= set(found) and made.offer(
            'retrain_server'
        ).acts

    ros.until(whole, 'all nodes')
    return made


def own(topics: set[str]) -> set[str]:
    """What adet made of them, not rclpy."""
    return {name for name in topics if not RCLPY_TOPICS.fullmatch(name)}


def concrete(name: str) -> str:
    return name.strip('` ').replace('<model>', 'padim')


def topics_of(node: str, kind: str) -> set[str]:
    """What the reference says that a node publishes or reads; its table is made from these."""
    return {
        concrete(end.topic)
        for end in endpoints()
        if end.kind == kind and (concrete(end.node) == node or end.node == 'every node')
    } - OPTIONAL


PROFILE_NAMES = {
    'every_frame': 'every frame',
    'newest_only': 'newest only',
    'latched': 'latched',
}


def profile_of(topic: str) -> tuple[str, str]:
    """The profile of a topic that comes from a bag, whose images may not be lost."""
    (end, *_) = [
        end for end in endpoints() if concrete(end.topic) == topic and end.kind == 'publisher'
    ]
    names = {PROFILE_NAMES[name] for name in end.qos}
    if not names:
        return PROFILES['reliable, depth 10']
    return PROFILES['every frame' if 'every frame' in names else names.pop()]


def test_every_topic_of_every_node_is_in_the_reference_with_its_profile(graph):
    for node in NODES:
        offer = graph.offer(node)
        assert own(offer.publishes) == topics_of(node, 'publisher'), node
        assert own(offer.subscribes) - {'/clock'} == topics_of(node, 'subscription')
    for topic in sorted(set().union(*(topics_of(node, 'publisher') for node in NODES))):
        expected = profile_of(topic)
        assert graph.profiles(topic, 'publishers') == {expected}, topic
        # How a node hears the time is rclpy's own choice.
        if topic != '/clock':
            assert graph.profiles(topic, 'subscriptions') <= {expected}, topic


def test_every_service_and_action_is_in_the_reference(graph):
    page = (ROOT / 'docs' / 'ros_interface.md').read_text(encoding='utf-8')
    named = {concrete(name) for name in re.findall(r'`[^`\n]+`', page)}
    for node in NODES:
        offer = graph.offer(node)
        services = {name for name in offer.serves if not RCLPY_SERVICE.fullmatch(name)}
        assert services | offer.acts <= named, node


def fields_of(kind: str, text: str) -> tuple[set[str], set[str]]:
    """The fields that a command line gives to a service or an action, and those there are."""
    package, group, name = kind.split('/')
    found = getattr(importlib.import_module(f'{package}.{group}'), name)
    asked = found.Goal if group == 'action' else found.Request
    return set(yaml.safe_load(text)), set(asked.get_fields_and_field_types())


def test_every_ros2_line_of_the_documentation_names_what_there_is(graph):
    pattern = r'^ros2 (?:topic echo|param set|service call|action send_goal) (.+)'
    lines = [line for page in PAGES for block in blocks_of(page) for line in block.lines()]
    commands = [found[1] for line in lines if (found := re.match(pattern, line))]
    assert len(commands) > 5
    names = graph.all_names() | set(NODES)
    for command in commands:
        name, *words = shlex.split(command, comments=True)
        relative = re.sub(r'^/(?:left/|right/)?', '', name).replace('patchcore', 'padim')
        if name.endswith('_logger_levels') and not LOG_LEVELS:
            continue
        assert relative in names, command
        if words and '/' in words[0]:
            given, known = fields_of(words[0], words[1])
            assert given <= known, command
        elif words:
            assert words[0] in {'threshold', 'category'}, command


def allowed(profile, tag, attribute):
    """Names of a policy's profile, as `Graph` gives them."""
    node = profile.get('node')
    return {
        (item.text or '').replace('~/', f'{node}/')
        for group in profile.findall(tag)
        if group.get(attribute) == 'ALLOW'
        for item in group
    }


def profiles_of(enclave):
    policy = ElementTree.parse(CONFIG / 'sros2_policy.xml')
    found = policy.findall(f".//enclave[@path='{enclave}']/profiles/profile")
    return {profile.get('node'): profile for profile in found}


def test_the_security_policy_allows_what_the_nodes_do_and_no_more(graph):
    profiles = profiles_of('/adet/robot')
    assert set(profiles) == set(NODES)
    for node, profile in profiles.items():
        offer = graph.offer(node)
        slashed = {f'/{name}' for name in ('rosout', 'parameter_events', 'diagnostics', 'clock')}
        assert allowed(profile, 'topics', 'publish') - OPTIONAL == offer.publishes, node
        # Read instead of the raw images.
        instead = {'image_raw/compressed'} if node.endswith('_detector') else set()
        # Read where several categories are deployed.
        instead |= {'padim/category'} if node == 'retrain_server' else set()
        heard = offer.subscribes - slashed | instead
        assert allowed(profile, 'topics', 'subscribe') - {'/clock'} == heard
        assert offer.serves <= allowed(profile, 'services', 'reply'), node
        extra = allowed(profile, 'services', 'reply') - offer.serves
        # Humble has no such service, and a node may be told to leave it out.
        levels = {f'{node}/get_logger_levels', f'{node}/set_logger_levels'}
        assert extra <= {f'{node}/get_type_description', *levels}, node
        assert allowed(profile, 'actions', 'execute') == offer.acts, node


def test_the_operator_of_the_policy_may_use_what_there_is(graph):
    operator = profiles_of('/adet/operator')['operator']
    offers = [graph.offer(node) for node in NODES]
    published = set().union(*(offer.publishes for offer in offers))
    served = set().union(*(offer.serves for offer in offers))
    acting = set().union(*(offer.acts for offer in offers))
    assert allowed(operator, 'topics', 'subscribe') <= published
    assert allowed(operator, 'services', 'request') <= served
    assert allowed(operator, 'actions', 'call') == acting
    # And retraining puts its result into service.
    requests = allowed(profiles_of('/adet/robot')['retrain_server'], 'services', 'request')
    assert requests == {'padim/load_bundle'}


@pytest.mark.usefixtures('graph')
def test_an_aggregator_finds_a_place_for_every_node(module_ros):
    heard = module_ros.hear(DiagnosticArray, '/diagnostics', 10)

    def names():
        found = {status.name for message in heard for status in message.status}
        return {name for name in found if name.startswith(f'{module_ros.namespace}/')}

    module_ros.until(lambda: len(names()) == len(NODES), 'a word of every node')
    # Node and task, by convention.
    assert {re.sub(r'^/\w+/(\w+): [a-z]+$', r'\1', name) for name in names()} == set(NODES)
    content = yaml.safe_load((CONFIG / 'diagnostics.yaml').read_text(encoding='utf-8'))
    analyzers = content['analyzers']['ros__parameters']
    assert analyzers.pop('path') == 'adet'
    for analyzer in analyzers.values():
        assert set(analyzer) == {'type', 'path', 'contains', 'timeout'}
        assert analyzer['type'] == 'diagnostic_aggregator/GenericAnalyzer'
    for name in names():
        places = [a for a in analyzers.values() if any(w in name for w in a['contains'])]
        assert len(places) == 1, name


def strings_in(value):
    if isinstance(value, dict):
        for inner in value.values():
            yield from strings_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings_in(inner)
    elif isinstance(value, str):
        yield value


def names_in(layout: Path) -> set[str]:
    """Topics of a layout file, with fields where it plots them."""
    text = layout.read_text(encoding='utf-8')
    values = list(strings_in(yaml.safe_load(text)))
    if layout.suffix == '.perspective':
        values = [ast.literal_eval(value) for value in values if value[0] in '\'"{']
    return {value for value in values if isinstance(value, str) and value.startswith('/')}


def test_the_layouts_show_topics_that_are_published(graph):
    names = {name if name.startswith('/') else f'/{name}' for name in graph.all_names()}
    for layout in ('adet.rviz', 'adet.foxglove.json', 'adet.perspective'):
        shown = names_in(CONFIG / layout)
        assert '/padim/overlay' in shown, layout
        for value in shown:
            topic, field = re.fullmatch(r'(/padim/\w+|/\w+)(?:[./](\w+))?', value).groups()
            assert topic in names, value
            if field:
                assert topic == '/padim/result', value
                assert field in AnomalyResult.get_fields_and_field_types(), value


def test_a_foxglove_layout_places_every_panel_once():
    layout = json.loads((CONFIG / 'adet.foxglove.json').read_text(encoding='utf-8'))
    placed = [value for value in strings_in(layout['layout']) if '!' in value]
    assert sorted(placed) == sorted(layout['configById'])
