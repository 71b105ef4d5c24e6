# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Packaging of adet_console, for colcon."""

from setuptools import find_packages, setup

PACKAGE = 'adet_console'

setup(
    name=PACKAGE,
    version='0.1.0',
    description="The operator's console of adet: a web page on the robot",
    author='The adet authors',
    author_email='maintainers@adet.dev',
    license='Apache-2.0',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={PACKAGE: ['py.typed', 'web/*', 'web/*/*']},
    python_requires='>=3.10',
    install_requires=[
        'adet',
        'adet_core',
        'aiohttp>=3.9',
        'opencv-python-headless',
        'prometheus-client',
    ],
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
        (f'share/{PACKAGE}/launch', ['launch/console.launch.py']),
    ],
    zip_safe=False,
    entry_points={
        'console_scripts': ['console = adet_console.node:main'],
        'adet.commands': ['console-password = adet_console.cli.console_password'],
    },
)
