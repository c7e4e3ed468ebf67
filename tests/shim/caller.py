"""A caller of the shim that signs each command as the control plane does."""

from __future__ import annotations

import http.client
import json
import ssl
import time
import uuid
from dataclasses import asdict
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask import Flask

from shim.contract import messages, routes, tokens
from shim.contract.routes import Route


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])


class Caller:
    """Sends commands through Flask's test client; TlsCaller sends them over the network."""

    def __init__(self, key: Ed25519PrivateKey, audience: str, app: Flask) -> None:
        self.key, self.audience, self.app = key, audience, app

    def send(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        answer = self.app.test_client().open(target, method=method, headers=headers, data=body)
        return Answer(answer.status_code, dict(answer.headers), answer.data)

    def token(self, method: str, target: str, body: bytes = b"", **changed: Any) -> str:
        now = changed.pop("now", time.time())
        signed = {
            "audience": self.audience,
            "method": method,
            "target": target,
            "body": body,
            "now": now,
            "expires": now + 50,
            "jti": str(uuid.uuid4()),
            "private_key": self.key,
        }
        return tokens.sign(**(signed | changed))

    def raw(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None, **changed: Any
    ) -> Answer:
        headers = {"Authorization": "Bearer " + self.token(method, target, body, **changed), **(headers or {})}
        return self.send(method, target, headers, body)

    def call(self, route: Route, name: str = "", message: Any = None, query: str = "", **changed: Any) -> Answer:
        body = json.dumps(asdict(message)).encode() if message else b""
        answer = self.raw(route.method, route.target(name, query, volume="data"), body, **changed)
        assert answer.headers[routes.CONTRACT_HEADER] == str(routes.CONTRACT)
        return answer

    def perform(self, route: Route, name: str = "", message: Any = None) -> messages.ActionResult:
        """Send a command that must succeed; return its answer, read as strictly as the functions read it."""
        answer = self.call(route, name, message)
        assert answer.status == 200, answer.body
        return messages.read(messages.ActionResult, answer.body)


class TlsCaller(Caller):
    def __init__(self, key: Ed25519PrivateKey, audience: str, port: int) -> None:
        self.key, self.audience = key, audience
        self.context = ssl.create_default_context()
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE
        self.port = port

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context, timeout=60)

    def send(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        connection = self.connect()
        try:
            connection.request(method, target, body or None, headers)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.headers), answer.read())
        finally:
            connection.close()
