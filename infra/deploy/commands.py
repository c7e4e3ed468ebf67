"""The gcloud commands that deploy the whole system to a Google Cloud project. Pure.

Firestore's indexes and rules are not among them: gcloud has no command for rules, and none for an index over all
collections of one name. The Firebase CLI deploys both from infra/firebase.json.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from functions.adapters.settings import REQUIRED

PLATFORM_ONLY = ("converge", "sweep")
"""The functions that only Google's services may call. The others are public and authenticate their callers."""
SECRETS = (
    "CALLER_SECRET",
    "COMMAND_KEY",
    "DIGITALOCEAN_TOKEN",
    "FINGERPRINT_KEY",
    "SECRET_KEYS",
    "WEBHOOK_SECRETS",
    "WEBHOOK_TARGET_SECRETS",
)
"""Settings that are in Secret Manager, each under its name in lower case with dashes (`command-key`)."""
SERVICES = (
    "artifactregistry",
    "cloudbuild",
    "cloudfunctions",
    "cloudscheduler",
    "firestore",
    "pubsub",
    "run",
    "secretmanager",
)
SEPARATOR = "##"
"""Between the settings of a function, since their values contain commas: `gcloud topic escaping`."""
TOPIC = "converge"
MAX_SECONDS = 600
"""Pub/Sub's longest ack deadline, and so the longest that a function called by a push may take."""


@dataclass(frozen=True, slots=True)
class Command:
    """A gcloud command without the word `gcloud`. It is skipped if the read-only command `unless` succeeds."""

    words: tuple[str, ...]
    unless: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join(("gcloud", *self.words))


@dataclass(frozen=True, slots=True)
class Target:
    """Where the system is deployed.

    `connector` is the VPC connector through which the functions leave, so that droplets see them at known addresses.
    """

    project: str
    region: str
    connector: str

    @property
    def service_account(self) -> str:
        return f"toolboxes@{self.project}.iam.gserviceaccount.com"

    def url(self, function: str) -> str:
        return f"https://{self.region}-{self.project}.cloudfunctions.net/{function}"


def commands(target: Target, settings: Mapping[str, str]) -> Iterator[Command]:
    """All commands in their order. `settings` are the deployment's own, without secrets and derived ones.

    Raises KeyError for a missing setting.
    """
    account = target.service_account
    yield Command(("services", "enable", *(f"{name}.googleapis.com" for name in SERVICES)))
    yield Command(("iam", "service-accounts", "create", "toolboxes"), ("iam", "service-accounts", "describe", account))
    for role in ("datastore.user", "pubsub.publisher", "secretmanager.secretAccessor", "run.invoker"):
        binding = (f"--member=serviceAccount:{account}", f"--role=roles/{role}", "--condition=None")
        yield Command(("projects", "add-iam-policy-binding", target.project, *binding))
    database = ("firestore", "databases")
    yield Command(
        (*database, "create", f"--location={target.region}", "--type=firestore-native"),
        (*database, "describe", "--database=(default)"),
    )
    yield Command(("pubsub", "topics", "create", TOPIC), ("pubsub", "topics", "describe", TOPIC))
    for entry_point in REQUIRED:
        yield deploy_function(target, entry_point, settings)
    yield from _triggers(target)


def deploy_function(target: Target, entry_point: str, settings: Mapping[str, str]) -> Command:
    """Deploy one function with the settings that it reads, and no others. Raises KeyError for a missing setting."""
    function = entry_point.replace("_", "-")
    values = derived_settings(target, function) | dict(settings)
    names = ["CALLER_SECRET" if n == "CALLER_JWKS_URL" and n not in values else n for n in REQUIRED[entry_point]]
    names += [n for n in settings if n.startswith("LIMIT_") or n == "WEBHOOK_TARGET"]
    if entry_point == "converge" and "WEBHOOK_TARGET" in settings:
        names.append("WEBHOOK_TARGET_SECRETS")
    plain = [f"{n}={values[n]}" for n in names if n not in SECRETS]
    secret = [f"{n}={n.lower().replace('_', '-')}:latest" for n in names if n in SECRETS]
    environment = SEPARATOR.join(("GOOGLE_FUNCTION_SOURCE=functions/main.py", *plain))
    return Command(
        (
            "functions",
            "deploy",
            function,
            "--gen2",
            f"--region={target.region}",
            "--runtime=python311",
            "--source=.",
            f"--entry-point={entry_point}",
            "--trigger-http",
            f"--timeout={MAX_SECONDS}s",
            f"--service-account={target.service_account}",
            f"--vpc-connector={target.connector}",
            "--egress-settings=all",
            "--no-allow-unauthenticated" if function in PLATFORM_ONLY else "--allow-unauthenticated",
            f"--set-env-vars=^{SEPARATOR}^{environment}",
            *([f"--set-secrets={','.join(secret)}"] if secret else []),
        )
    )


def derived_settings(target: Target, function: str) -> dict[str, str]:
    """The settings that follow from the target."""
    return {
        "GOOGLE_CLOUD_PROJECT": target.project,
        "STORE": "firestore",
        "QUEUE": f"pubsub:{TOPIC}",
        "SERVICE_ISSUER": "https://accounts.google.com",
        "SERVICE_JWKS_URL": "https://www.googleapis.com/oauth2/v3/certs",
        "SERVICE_AUDIENCE": target.url(function),
        "SERVICE_EMAIL": target.service_account,
        "DIGITALOCEAN_URL": "https://api.digitalocean.com",
        "ENROL_URL": target.url("enrol"),
        "NOTIFY_URL": target.url("notify"),
    }


def _triggers(target: Target) -> Iterator[Command]:
    """Pub/Sub's push to `converge`, and the scheduler's call of `sweep` each minute."""
    subscription, job = ("pubsub", "subscriptions"), ("scheduler", "jobs")
    converge, sweep = target.url("converge"), target.url("sweep")
    yield Command(
        (
            *subscription,
            "create",
            TOPIC,
            f"--topic={TOPIC}",
            f"--push-endpoint={converge}",
            f"--push-auth-service-account={target.service_account}",
            f"--push-auth-token-audience={converge}",
            f"--ack-deadline={MAX_SECONDS}",
            "--min-retry-delay=10s",
            "--max-retry-delay=600s",
        ),
        (*subscription, "describe", TOPIC),
    )
    yield Command(
        (
            *job,
            "create",
            "http",
            "sweep",
            f"--location={target.region}",
            "--schedule=* * * * *",
            "--http-method=POST",
            f"--uri={sweep}",
            f"--oidc-service-account-email={target.service_account}",
            f"--oidc-token-audience={sweep}",
            "--attempt-deadline=60s",
        ),
        (*job, "describe", "sweep", f"--location={target.region}"),
    )
