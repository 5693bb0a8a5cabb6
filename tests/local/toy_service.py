"""A service that keeps every push in a file, for tests of what delivers to it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from flask import Flask, request
from flask.typing import ResponseReturnValue

app = Flask(__name__)


@app.get("/health")
def health() -> ResponseReturnValue:
    return "", 200


@app.post("/")
def push() -> ResponseReturnValue:
    # LANDING_BUCKET and the like reach the service too; PUSHES says where this one keeps what it got.
    with Path(os.environ["PUSHES"]).open("a") as pushes:
        pushes.write(json.dumps(request.get_json()) + "\n")
    return "", 204
