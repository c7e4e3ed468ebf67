"""The peer of the benchmarks: a function of functions-framework and Flask that does nothing else."""

from __future__ import annotations

import functions_framework
from flask import Request


@functions_framework.http
def bare(request: Request) -> str:
    return "ok"
