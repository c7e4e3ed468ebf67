"""The API of the local DigitalOcean: routes, the token, pages, and how it fails where it is told to."""

from __future__ import annotations

import hmac
import socket
from collections import Counter
from datetime import timedelta
from typing import Any

from flask import Blueprint, Flask, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException

from infra.local.digitalocean import catalogue, droplets, tags
from infra.local.digitalocean.droplets import Droplets
from infra.local.digitalocean.firewalls import Firewalls
from infra.local.digitalocean.records import Record
from infra.local.digitalocean.refusal import NotFound, Refusal, Unauthorized, Unprocessable
from infra.local.digitalocean.tags import Tags
from infra.local.digitalocean.weather import Limited, Weather
from infra.local.world import World

PER_PAGE, MOST_PER_PAGE = 20, 200
HOURLY = 5000


def build(of: World, token: str) -> Flask:
    """The app of one world; what was under way before goes on."""
    app = Flask("digitalocean", static_folder=None)
    made, weather = Tags(of), Weather()
    walls = Firewalls(of, made)
    machines = Droplets(of, made, walls)
    _guard(app, token, weather)
    for api in (_droplets(machines), _firewalls(walls, machines), _tags(made, machines), _catalogue()):
        app.register_blueprint(api)

    @app.put("/admin/weather")
    def change_weather() -> tuple[str, int]:
        asked = _body()
        weather.change(asked["faults"])
        machines.tags_late = timedelta(seconds=asked["tags_late_seconds"])
        return "", 204

    machines.resume()
    return app


def _guard(app: Flask, token: str, weather: Weather) -> None:
    """Who calls, how often, and in which weather."""
    calls: Counter[str] = Counter()

    @app.before_request
    def arrive() -> None:
        if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), f"Bearer {token}".encode()):
            raise Unauthorized("Unable to authenticate you")
        if not request.path.startswith("/admin/"):
            calls[f"{request.method} {request.url_rule}"] += 1
            g.lost = weather.meet(request.method, request.path)

    @app.after_request
    def leave(response: Response) -> Response:
        response.headers["ratelimit-limit"] = str(HOURLY)
        response.headers["ratelimit-remaining"] = str(HOURLY - calls.total())
        response.headers["ratelimit-reset"] = "0"
        if g.get("lost"):
            request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return response

    @app.errorhandler(Refusal)
    def refuse(error: Refusal) -> tuple[Response, int, dict[str, str]]:
        headers = {"Retry-After": str(error.retry_after)} if isinstance(error, Limited) else {}
        return jsonify({"id": error.id, "message": error.message}), error.status, headers

    @app.errorhandler(HTTPException)
    def unknown(error: HTTPException) -> tuple[Response, int, dict[str, str]]:
        return refuse(NotFound("The resource you were accessing could not be found."))

    @app.get("/admin/calls")
    def count() -> Response:
        return jsonify(calls)


def _droplets(machines: Droplets) -> Blueprint:
    api = Blueprint("droplets", __name__, url_prefix="/v2/droplets")

    def shown(records: list[Record]) -> list[Record]:
        running = machines.running()

        def status(record: Record) -> str:
            return "active" if record["id"] in running else "new" if record["powered"] else "off"

        return [droplets.shown(record, machines.carried(record), status(record)) for record in records]

    @api.post("")
    def create() -> tuple[Response, int]:
        record = machines.create(_body())
        return jsonify({"droplet": droplets.shown(record, [], "new"), "links": {"actions": []}}), 202

    @api.get("")
    def find() -> Response:
        name, tag = request.args.get("name"), request.args.get("tag_name")
        if name and tag:
            raise Unprocessable("name and tag_name cannot be combined")
        found = machines.all()
        if name:
            found = [record for record in found if record["name"].lower() == name.lower()]
        if tag:
            found = [record for record in found if tag in machines.carried(record)]
        return _page("droplets", shown(found))

    @api.get("/<int:key>")
    def get(key: int) -> Response:
        return jsonify({"droplet": shown([machines.get(key)])[0]})

    @api.delete("/<int:key>")
    def destroy(key: int) -> tuple[str, int, dict[str, str]]:
        machines.destroy(key)
        return "", 204, {"Content-Type": "application/json"}

    @api.post("/<int:key>/actions")
    def act(key: int) -> tuple[Response, int]:
        return jsonify({"action": machines.act(key, str(_body().get("type")))}), 201

    @api.get("/<int:key>/actions")
    def acts(key: int) -> Response:
        return _page("actions", machines.get(key)["actions"][::-1])

    return api


def _firewalls(walls: Firewalls, machines: Droplets) -> Blueprint:
    api = Blueprint("firewalls", __name__, url_prefix="/v2/firewalls")

    @api.post("")
    def create() -> tuple[Response, int]:
        made = walls.create(_body())
        machines.hold_firewalls()
        return jsonify({"firewall": made}), 202

    @api.get("")
    def find() -> Response:
        return _page("firewalls", walls.all())

    @api.get("/<key>")
    def get(key: str) -> Response:
        return jsonify({"firewall": walls.get(key)})

    @api.put("/<key>")
    def replace(key: str) -> Response:
        changed = walls.replace(key, _body())
        machines.hold_firewalls()
        return jsonify({"firewall": changed})

    @api.delete("/<key>")
    def delete(key: str) -> tuple[str, int, dict[str, str]]:
        walls.delete(key)
        machines.hold_firewalls()
        return "", 204, {"Content-Type": "application/json"}

    return api


def _tags(made: Tags, machines: Droplets) -> Blueprint:
    api = Blueprint("tags", __name__, url_prefix="/v2/tags")

    def shown(name: str) -> Record:
        return tags.shown(name, [record for record in machines.all() if name in machines.carried(record)])

    @api.post("")
    def create() -> tuple[Response, int]:
        name = str(_body().get("name"))
        made.create(name)
        return jsonify({"tag": shown(name)}), 201

    @api.get("")
    def find() -> Response:
        return _page("tags", [shown(name) for name in made.all()])

    return api


def _catalogue() -> Blueprint:
    api = Blueprint("catalogue", __name__, url_prefix="/v2")
    api.add_url_rule("/regions", "regions", lambda: _page("regions", catalogue.regions()))
    api.add_url_rule("/sizes", "sizes", lambda: _page("sizes", catalogue.sizes()))
    api.add_url_rule("/images", "images", lambda: _page("images", catalogue.images()))
    api.add_url_rule("/account", "account", lambda: jsonify({"account": catalogue.ACCOUNT}))
    return api


def _body() -> dict[str, Any]:
    read = request.get_json(silent=True)
    if not isinstance(read, dict):
        raise Unprocessable("the body must be a JSON object")
    return read


def _page(kind: str, things: list[Record]) -> Response:
    """One page of a list, with its links to the others."""
    size = min(max(request.args.get("per_page", PER_PAGE, int), 1), MOST_PER_PAGE)
    page, last = max(request.args.get("page", 1, int), 1), max(-(-len(things) // size), 1)

    def link(number: int) -> str:
        return f"{request.base_url}?page={number}&per_page={size}"

    pages = {"next": link(page + 1), "last": link(last)} if page < last else {}
    if page > 1:
        pages |= {"first": link(1), "prev": link(page - 1)}
    shown = things[(page - 1) * size : page * size]
    return jsonify({kind: shown, "links": {"pages": pages} if pages else {}, "meta": {"total": len(things)}})
