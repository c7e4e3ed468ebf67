"""What deploys all of it to a project of Google Cloud, as gcloud's commands. Pure.

Firestore's indexes and rules are not among them: gcloud knows no rules, and no index over all collections of a name.
infra/firebase.json gives both to the Firebase CLI.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from functions.adapters.settings import REQUIRED

# Those that anybody may call: they check their callers themselves.
PLATFORM_ONLY = ("converge", "sweep")
# Kept in Secret Manager, under the same name in lower case with dashes.
SECRETS = (
    "CALLER_SECRET", "COMMAND_KEY", "DIGITALOCEAN_TOKEN", "FINGERPRINT_KEY", "SECRET_KEYS", "WEBHOOK_SECRETS",
    "WEBHOOK_TARGET_SECRETS",
)  # fmt: skip
SERVICES = (
    "artifactregistry", "cloudbuild", "cloudfunctions", "cloudscheduler", "firestore", "pubsub", "run", "secretmanager",
)  # fmt: skip
# Between settings whose values hold commas: `gcloud topic escaping`.
BETWEEN = "^##^"
TOPIC = "converge"
# Pub/Sub's longest, and what a function may take at most when it is called by a push.
LONGEST_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Command:
    """`words` after `gcloud`; left out where the command `unless`, which only looks, succeeds."""

    words: tuple[str, ...]
    unless: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join(("gcloud", *self.words))


@dataclass(frozen=True, slots=True)
class Place:
    """`connector`: the VPC connector by which functions leave, so that droplets see them at known addresses."""

    project: str
    region: str
    connector: str

    @property
    def account(self) -> str:
        return f"toolboxes@{self.project}.iam.gserviceaccount.com"

    def url(self, function: str) -> str:
        return f"https://{self.region}-{self.project}.cloudfunctions.net/{function}"


def commands(place: Place, given: Mapping[str, str]) -> Iterator[Command]:
    """In their order. `given`: the settings that are this deployment's own."""
    yield Command(("services", "enable", *(f"{name}.googleapis.com" for name in SERVICES)))
    yield Command(
        ("iam", "service-accounts", "create", "toolboxes"), ("iam", "service-accounts", "describe", place.account)
    )
    for role in ("datastore.user", "pubsub.publisher", "secretmanager.secretAccessor", "run.invoker"):
        member = f"serviceAccount:{place.account}"
        yield Command(
            ("projects", "add-iam-policy-binding", place.project, f"--member={member}", f"--role=roles/{role}",
             "--condition=None"),
        )  # fmt: skip
    database = ("firestore", "databases")
    yield Command(
        (*database, "create", f"--location={place.region}", "--type=firestore-native"),
        (*database, "describe", "--database=(default)"),
    )
    yield Command(("pubsub", "topics", "create", TOPIC), ("pubsub", "topics", "describe", TOPIC))
    for target in REQUIRED:
        yield function(place, target, given)
    yield from _calls(place)


def function(place: Place, target: str, given: Mapping[str, str]) -> Command:
    """One function with its own settings alone. Raises KeyError, naming one that is not given."""
    name = target.replace("_", "-")
    known = derived(place, name) | dict(given)
    wanted = ["CALLER_SECRET" if n == "CALLER_JWKS_URL" and n not in known else n for n in REQUIRED[target]]
    wanted += [n for n in given if n.startswith("LIMIT_") or n == "WEBHOOK_TARGET"]
    if target == "converge" and "WEBHOOK_TARGET" in given:
        wanted.append("WEBHOOK_TARGET_SECRETS")
    plain = [f"{n}={known[n]}" for n in wanted if n not in SECRETS]
    secret = [f"{n}={n.lower().replace('_', '-')}:latest" for n in wanted if n in SECRETS]
    return Command(
        ("functions", "deploy", name, "--gen2", f"--region={place.region}", "--runtime=python311", "--source=.",
         f"--entry-point={target}", "--trigger-http", f"--timeout={LONGEST_SECONDS}s",
         f"--service-account={place.account}", f"--vpc-connector={place.connector}", "--egress-settings=all",
         "--no-allow-unauthenticated" if name in PLATFORM_ONLY else "--allow-unauthenticated",
         "--set-env-vars=" + BETWEEN + "##".join(("GOOGLE_FUNCTION_SOURCE=functions/main.py", *plain)),
         *(["--set-secrets=" + ",".join(secret)] if secret else [])),
    )  # fmt: skip


def derived(place: Place, function: str) -> dict[str, str]:
    """The settings that follow from where it is deployed."""
    return {
        "GOOGLE_CLOUD_PROJECT": place.project,
        "STORE": "firestore",
        "QUEUE": f"pubsub:{TOPIC}",
        "SERVICE_ISSUER": "https://accounts.google.com",
        "SERVICE_JWKS_URL": "https://www.googleapis.com/oauth2/v3/certs",
        "SERVICE_AUDIENCE": place.url(function),
        "SERVICE_EMAIL": place.account,
        "DIGITALOCEAN_URL": "https://api.digitalocean.com",
        "ENROL_URL": place.url("enrol"),
        "NOTIFY_URL": place.url("notify"),
    }


def _calls(place: Place) -> Iterator[Command]:
    """Who calls the two that are not public: Pub/Sub by a push, the scheduler each minute."""
    subscription, job = ("pubsub", "subscriptions"), ("scheduler", "jobs")
    yield Command(
        (*subscription, "create", TOPIC, f"--topic={TOPIC}", f"--push-endpoint={place.url('converge')}",
         f"--push-auth-service-account={place.account}", f"--push-auth-token-audience={place.url('converge')}",
         f"--ack-deadline={LONGEST_SECONDS}", "--min-retry-delay=10s", "--max-retry-delay=600s"),
        (*subscription, "describe", TOPIC),
    )  # fmt: skip
    yield Command(
        (*job, "create", "http", "sweep", f"--location={place.region}", "--schedule=* * * * *", "--http-method=POST",
         f"--uri={place.url('sweep')}", f"--oidc-service-account-email={place.account}",
         f"--oidc-token-audience={place.url('sweep')}", "--attempt-deadline=60s"),
        (*job, "describe", "sweep", f"--location={place.region}"),
    )  # fmt: skip
