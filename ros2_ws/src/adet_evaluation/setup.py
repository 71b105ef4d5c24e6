# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Packaging of adet_evaluation, for colcon and for plain pip."""

from setuptools import find_packages, setup

PACKAGE = 'adet_evaluation'

setup(
    name=PACKAGE,
    version='0.1.0',
    description='Figures, reports and rosbags of visual anomaly inspection',
    author='The adet authors',
    author_email='maintainers@adet.dev',
    license='Apache-2.0',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={PACKAGE: ['py.typed', 'report/page.*']},
    python_requires='>=3.10',
    install_requires=[
        'adet_core',
        'jinja2>=3',
        'mcap>=1',
        'numpy>=1.23',
        'opencv-python-headless>=4.8',
        'plotly>=5',
        'pyyaml>=5',
        'rich>=12',
        'rosbags>=0.10',
        'zstandard>=0.20',
    ],
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
    ],
    zip_safe=False,
    entry_points={
        'adet.commands': [
            'evaluate = adet_evaluation.cli.evaluate',
            'record = adet_evaluation.cli.record',
            'runs = adet_evaluation.cli.runs',
        ],
        'adet.sources': ['bag = adet_evaluation.bags:BagSource'],
    },
)
