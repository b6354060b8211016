"""Build the native engine; everything else is in pyproject.toml. Where it cannot be built, the install goes on."""

import sys
from pathlib import Path

from setuptools import Extension, setup

FOLDER = Path("lsnn_gym/engine/native")
OPTIONS = [
    "-std=c++17",
    "-O3",
    "-g0",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=off",
    "-Wno-psabi",
    "-Wno-ignored-attributes",
]

setup(
    ext_modules=[
        Extension(
            "lsnn_gym.engine.native._kernels",
            sources=sorted(str(path) for path in FOLDER.glob("*.cpp")),
            depends=sorted(str(path) for path in FOLDER.glob("*.hpp")),
            language="c++",
            extra_compile_args=OPTIONS,
            extra_link_args=[] if sys.platform == "win32" else ["-pthread"],
            optional=True,
        )
    ]
)
