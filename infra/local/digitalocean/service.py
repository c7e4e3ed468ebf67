"""The HTTP API of the local DigitalOcean: routes, authentication, paging, injected faults."""

from __future__ import annotations

import hmac
import socket
from collections import Counter
from datetime import timedelta
from typing import Any

from flask import Blueprint, Flask, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException

from infra.local.digitalocean import catalogue, droplets
from infra.local.digitalocean.droplets import Droplets
from infra.local.digitalocean.errors import ApiError, Faults, NotFound, TooManyRequests, Unauthorized, Unprocessable
from infra.local.digitalocean.firewalls import Firewalls
from infra.local.digitalocean.records import Record, Tags, tag_document
from infra.local.world import World

DEFAULT_PER_PAGE, MAX_PER_PAGE = 20, 200
HOURLY_LIMIT = 5000


def build(world: World, token: str) -> tuple[Flask, Droplets]:
    """The app of one world and its droplets. Work that was interrupted by the last stop continues at once."""
    app = Flask("digitalocean", static_folder=None)
    tags, faults = Tags(world), Faults()
    firewalls = Firewalls(world, tags)
    machines = Droplets(world, tags, firewalls)
    _install_hooks(app, token, faults)
    for api in (_droplets(machines), _firewalls(firewalls, machines), _tags(tags, machines), _catalogue()):
        app.register_blueprint(api)

    @app.put("/admin/faults")
    def replace_faults() -> tuple[str, int]:
        body = _body()
        faults.replace(body["faults"])
        machines.tags_late = timedelta(seconds=body["tags_late_seconds"])
        return "", 204

    machines.resume()
    return app, machines


def _install_hooks(app: Flask, token: str, faults: Faults) -> None:
    """Authenticate and count every call, apply injected faults, and answer errors in DigitalOcean's form."""
    calls: Counter[str] = Counter()

    @app.before_request
    def before() -> None:
        if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), f"Bearer {token}".encode()):
            raise Unauthorized("Unable to authenticate you")
        if not request.path.startswith("/admin/"):
            calls[f"{request.method} {request.url_rule}"] += 1
            g.answer_lost = faults.apply(request.method, request.path)

    @app.after_request
    def after(response: Response) -> Response:
        response.headers["ratelimit-limit"] = str(HOURLY_LIMIT)
        response.headers["ratelimit-remaining"] = str(HOURLY_LIMIT - calls.total())
        response.headers["ratelimit-reset"] = "0"
        if g.get("answer_lost"):
            request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return response

    @app.errorhandler(ApiError)
    def api_error(error: ApiError) -> tuple[Response, int, dict[str, str]]:
        headers = {"Retry-After": str(error.retry_after)} if isinstance(error, TooManyRequests) else {}
        return jsonify({"id": error.id, "message": error.message}), error.status, headers

    @app.errorhandler(HTTPException)
    def unknown_route(_error: HTTPException) -> tuple[Response, int, dict[str, str]]:
        return api_error(NotFound("The resource you were accessing could not be found."))

    @app.get("/admin/calls")
    def counts() -> Response:
        return jsonify(calls)


def _droplets(machines: Droplets) -> Blueprint:
    api = Blueprint("droplets", __name__, url_prefix="/v2/droplets")

    def documents(records: list[Record]) -> list[Record]:
        running = machines.running()

        def status(record: Record) -> str:
            return "active" if record["id"] in running else "new" if record["powered"] else "off"

        return [droplets.document(record, machines.visible_tags(record), status(record)) for record in records]

    @api.post("")
    def create() -> tuple[Response, int]:
        record = machines.create(_body())
        return jsonify({"droplet": droplets.document(record, [], "new"), "links": {"actions": []}}), 202

    @api.get("")
    def find() -> Response:
        name, tag = request.args.get("name"), request.args.get("tag_name")
        if name and tag:
            raise Unprocessable("name and tag_name cannot be combined")
        found = machines.all()
        if name:
            found = [record for record in found if record["name"].lower() == name.lower()]
        if tag:
            found = [record for record in found if tag in machines.visible_tags(record)]
        return _page("droplets", documents(found))

    @api.get("/<int:key>")
    def get(key: int) -> Response:
        return jsonify({"droplet": documents([machines.get(key)])[0]})

    @api.delete("/<int:key>")
    def destroy(key: int) -> tuple[str, int, dict[str, str]]:
        machines.destroy(key)
        return "", 204, {"Content-Type": "application/json"}

    @api.post("/<int:key>/actions")
    def act(key: int) -> tuple[Response, int]:
        return jsonify({"action": machines.act(key, str(_body().get("type")))}), 201

    @api.get("/<int:key>/actions")
    def actions(key: int) -> Response:
        return _page("actions", machines.get(key)["actions"][::-1])

    return api


def _firewalls(firewalls: Firewalls, machines: Droplets) -> Blueprint:
    api = Blueprint("firewalls", __name__, url_prefix="/v2/firewalls")

    @api.post("")
    def create() -> tuple[Response, int]:
        record = firewalls.create(_body())
        machines.enforce_firewalls()
        return jsonify({"firewall": record}), 202

    @api.get("")
    def find() -> Response:
        return _page("firewalls", firewalls.all())

    @api.get("/<key>")
    def get(key: str) -> Response:
        return jsonify({"firewall": firewalls.get(key)})

    @api.put("/<key>")
    def replace(key: str) -> Response:
        record = firewalls.replace(key, _body())
        machines.enforce_firewalls()
        return jsonify({"firewall": record})

    @api.delete("/<key>")
    def delete(key: str) -> tuple[str, int, dict[str, str]]:
        firewalls.delete(key)
        machines.enforce_firewalls()
        return "", 204, {"Content-Type": "application/json"}

    return api


def _tags(tags: Tags, machines: Droplets) -> Blueprint:
    api = Blueprint("tags", __name__, url_prefix="/v2/tags")

    def document(name: str) -> Record:
        return tag_document(name, [record for record in machines.all() if name in machines.visible_tags(record)])

    @api.post("")
    def create() -> tuple[Response, int]:
        name = str(_body().get("name"))
        tags.create(name)
        return jsonify({"tag": document(name)}), 201

    @api.get("")
    def find() -> Response:
        return _page("tags", [document(name) for name in tags.all()])

    return api


def _catalogue() -> Blueprint:
    api = Blueprint("catalogue", __name__, url_prefix="/v2")
    api.add_url_rule("/regions", "regions", lambda: _page("regions", catalogue.regions()))
    api.add_url_rule("/sizes", "sizes", lambda: _page("sizes", catalogue.sizes()))
    api.add_url_rule("/images", "images", lambda: _page("images", catalogue.images()))
    api.add_url_rule("/account", "account", lambda: jsonify({"account": catalogue.ACCOUNT}))
    return api


def _body() -> dict[str, Any]:
    body = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise Unprocessable("the body must be a JSON object")
    return body


def _page(key: str, items: list[Record]) -> Response:
    """One page of a list, with links to the other pages in DigitalOcean's form."""
    per_page = min(max(request.args.get("per_page", DEFAULT_PER_PAGE, int), 1), MAX_PER_PAGE)
    page, last = max(request.args.get("page", 1, int), 1), max(-(-len(items) // per_page), 1)

    def link(number: int) -> str:
        return f"{request.base_url}?page={number}&per_page={per_page}"

    pages = {"next": link(page + 1), "last": link(last)} if page < last else {}
    if page > 1:
        pages |= {"first": link(1), "prev": link(page - 1)}
    selected = items[(page - 1) * per_page : page * per_page]
    return jsonify({key: selected, "links": {"pages": pages} if pages else {}, "meta": {"total": len(items)}})
