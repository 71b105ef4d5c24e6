# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Packaging of the nodes, for colcon."""

from glob import glob

from setuptools import find_packages, setup

PACKAGE = 'adet'
# Each has an executable of its name; `detector` runs any model.
MODELS = ('efficientad', 'padim', 'patchcore', 'vae')

launch_files = sorted(glob('launch/*.launch.py'))
if not launch_files:
    # colcon would install nothing and report success.
    raise SystemExit('adet: launch/ holds no launch files')

setup(
    name=PACKAGE,
    version='0.1.0',
    description='Visual anomaly inspection as ROS 2 nodes',
    author='The adet authors',
    author_email='maintainers@adet.dev',
    license='Apache-2.0',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={PACKAGE: ['py.typed']},
    python_requires='>=3.10',
    install_requires=['adet_core', 'numpy', 'opencv-python-headless', 'pyyaml', 'rich>=12'],
    # Bags, figures and reports.
    extras_require={'evaluation': ['adet_evaluation']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
        (f'share/{PACKAGE}/launch', launch_files),
        (f'share/{PACKAGE}/config', sorted(glob('config/*'))),
    ],
    zip_safe=False,
    entry_points={
        'console_scripts': [
            'csv_recorder = adet.nodes.csv_recorder:main',
            'image_source = adet.nodes.image_source:main',
            'inspection = adet.in_process:main',
            'detector = adet.nodes.detector:main',
            'retrain_server = adet.nodes.retrain_server:main',
            *(f'{model}_detector = adet.nodes.detector:main' for model in MODELS),
        ],
        'adet.commands': [
            'health = adet.cli.health',
            'inspect = adet.cli.inspect',
            'mark = adet.cli.mark',
            'retrain-goal = adet.cli.retrain_goal',
            'serve = adet.cli.serve',
        ],
    },
)
