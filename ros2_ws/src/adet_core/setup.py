# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Packaging of adet_core, for colcon and for plain pip."""

from setuptools import find_packages, setup

PACKAGE = 'adet_core'
VERSION = '0.1.0'

setup(
    name=PACKAGE,
    version=VERSION,
    description='Visual anomaly inspection without ROS and torch',
    author='The adet authors',
    author_email='maintainers@adet.dev',
    license='Apache-2.0',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={PACKAGE: ['py.typed']},
    python_requires='>=3.10',
    install_requires=[
        'argcomplete>=2',
        'numpy>=1.23',
        'opencv-python-headless>=4.8',
        'onnx>=1.16',
        'onnxruntime>=1.16',
        'rich>=12',
        'threadpoolctl>=3',
        'tomli>=1.1; python_version < "3.11"',
    ],
    extras_require={
        # Bags, figures and reports.
        'evaluation': ['adet_evaluation'],
        # A further backend for CPUs of x86 and Arm.
        'openvino': ['openvino>=2024.4'],
    },
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
    ],
    zip_safe=False,
    entry_points={
        'console_scripts': ['adet = adet_core.cli:main'],
    },
)
