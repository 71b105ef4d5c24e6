# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What Prometheus reads at ``/metrics``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
import math
from typing import Any

from adet_core.errors import ConfigError

_COUNTERS = {
    'inspected': 'images with a verdict since the shift began',
    'rejected': 'images with an anomaly since the shift began',
    'uncertain': 'images in the uncertain band since the shift began',
    'refused': 'images without a verdict since the shift began',
}


def exposition(
    detectors: Iterable[Mapping[str, Any]], nodes: Iterable[Mapping[str, Any]]
) -> tuple[bytes, str]:
    """The figures in the text format of Prometheus.

    Args:
        detectors: What `adet_console.link.GraphLink.overview` gives.
        nodes: What `adet_console.link.GraphLink.health` gives.

    Returns:
        The text, and its content type.

    Raises:
        ConfigError: prometheus_client is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry, CONTENT_TYPE_LATEST, generate_latest
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    except ImportError as error:
        msg = f'/metrics needs prometheus_client ({error}): pip install prometheus-client'
        raise ConfigError(msg) from None

    class Collector:
        """Makes the families when they are asked for."""

        def collect(self) -> Iterator[Any]:
            for name, meaning in _COUNTERS.items():
                family = CounterMetricFamily(f'adet_{name}_images', meaning, labels=['detector'])
                for one in detectors:
                    family.add_metric([one['key']], one['counters'][name])
                yield family
            healthy = GaugeMetricFamily('adet_node_healthy', '1 if it is ok', labels=['node'])
            values = GaugeMetricFamily(
                'adet_node_value', 'figures of its diagnostics', labels=['node', 'key']
            )
            for node in nodes:
                healthy.add_metric([node['name']], int(node['level'] == 'ok'))
                for key, text in node['values'].items():
                    if (value := _figure(text)) is not None:
                        values.add_metric([node['name'], key], value)
            yield healthy
            yield values

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())  # type: ignore[arg-type]
    return generate_latest(registry), CONTENT_TYPE_LATEST


def _figure(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
