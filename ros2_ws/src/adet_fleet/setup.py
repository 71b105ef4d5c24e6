# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Packaging of adet_fleet, for colcon."""

from setuptools import find_packages, setup

PACKAGE = 'adet_fleet'

setup(
    name=PACKAGE,
    version='0.1.0',
    description='Bundles of adet for many robots: signed releases, and a hawkBit agent',
    author='The adet authors',
    author_email='maintainers@adet.dev',
    license='Apache-2.0',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={PACKAGE: ['py.typed']},
    python_requires='>=3.10',
    install_requires=['adet_core', 'cryptography', 'fsspec'],
    # What fsspec needs for addresses of that kind.
    extras_require={'http': ['fsspec[http]'], 's3': ['fsspec[s3]'], 'agent': ['adet']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
        (f'share/{PACKAGE}/launch', ['launch/fleet.launch.py']),
    ],
    zip_safe=False,
    entry_points={
        'console_scripts': ['fleet_agent = adet_fleet.node:main'],
        'adet.commands': [
            'fetch = adet_fleet.cli.fetch',
            'keygen = adet_fleet.cli.keygen',
            'publish = adet_fleet.cli.publish',
        ],
    },
)
