# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Packaging of adet_forwarder, for colcon."""

from setuptools import find_packages, setup

PACKAGE = 'adet_forwarder'

setup(
    name=PACKAGE,
    version='0.1.0',
    description='Verdicts of adet for the factory: MQTT, webhooks, OPC UA',
    author='The adet authors',
    author_email='maintainers@adet.dev',
    license='Apache-2.0',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={PACKAGE: ['py.typed']},
    python_requires='>=3.10',
    install_requires=['adet', 'adet_core', 'pyyaml'],
    # The webhook needs neither.
    extras_require={'mqtt': ['paho-mqtt>=2.0'], 'opcua': ['asyncua>=1.1'], 'upload': ['fsspec']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
        (f'share/{PACKAGE}/launch', ['launch/forward.launch.py']),
        (f'share/{PACKAGE}/config', ['config/forward.yaml']),
    ],
    zip_safe=False,
    entry_points={'console_scripts': ['result_forwarder = adet_forwarder.node:main']},
)
