"""Checks that names and prose use the field's terms: `python -m tests.language FOLDER...`

Two tables below hold the words that this project does not use and what to write instead. An identifier is checked where
it is defined: functions, classes, parameters, variables, attributes, modules. Prose is checked in comments, docstrings
and other strings of Python, in comments of scripts and configuration files, and in Markdown outside of code. Prints
`file:line: word: use ...` for each finding and exits with status 1 if there is any.

A word that ordinary English needs ("asked", "one") is only refused as a name, never in prose.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# As a whole identifier or as a part of one (`told`, `told_at`, `_told`), in any case.
NAME_PARTS = {
    "acted": "fold_container, or what the action was",
    "anew": "again",
    "asked": "requested, body, or update_with_retry",
    "asleep": "stopped, idle",
    "birth": "ProvisioningDefaults",
    "born": "ProvisioningDefaults, created",
    "climate": "faults",
    "doubt": "needs_inspection",
    "doubted": "needs_inspection",
    "erred": "fold_error",
    "errand": "task, reconcile pass",
    "farewell": "teardown",
    "heard": "deduplication record",
    "kept": "previous, stored, retained",
    "lingers": "in_flight_until",
    "redraw": "reallocate",
    "redrawn": "reallocated",
    "shaken": "probed",
    "stranger": "orphan",
    "strangers": "orphans",
    "stray": "orphan",
    "strays": "orphans",
    "struck": "redacted",
    "told": "detail, message, settings, or what the value is",
    "uncertain": "needs_inspection",
    "weather": "faults",
    "wish": "request",
    "wishes": "requests",
}

# As the whole identifier only; a leading underscore does not count. Classes are compared with their case.
WHOLE_NAMES = {
    "aim": "target_state",
    "begun": "idempotency record",
    "bound_to": "associated_data",
    "drawn": "allocated",
    "fell_back": "rolled_back",
    "fresh_from": "restart_after",
    "given": "settings, arguments, or what the value is",
    "given_up": "gave_up",
    "may_begin_until": "in_flight_until",
    "most": "limit, maximum",
    "of": "the noun: world, toolbox, account",
    "one": "the noun of the item",
    "recall": "replay",
    "renew_drafted": "update_with_retry",
    "room": "quota",
    "said": "output, answer, text",
    "seen": "observed, known",
    "shake_hands": "MCP probe",
    "strike": "redact",
    "strikes": "inject, faults",
    "taken": "used, reserved, allocated",
    "want": "request_...",
    "want_held": "request_...",
    "Ports": "Dependencies",
    "Standing": "AccountStatus",
    "Word": "AccountStatus",
}

# In prose, as whole words, in any case.
PHRASES = {
    "anew": "again, from the start",
    "as it was asked for": "as requested",
    "asks after": "checks",
    "by itself alone": "alone",
    "can be had": "is available",
    "converge pass": "reconcile pass",
    "drawn anew": "reallocated",
    "errand": "task, reconcile pass",
    "farewell": "teardown",
    "for want of": "because there is no",
    "hears of": "is notified of",
    "is had": "is available",
    "lingers": "is in flight",
    "no word": "no message, no answer",
    "shake hands": "run the MCP probe",
    "stranger": "orphan container, other caller",
    "strangers": "orphan containers, other callers",
    "stray": "orphan",
    "strays": "orphans",
    "struck out": "redacted",
    "to be had": "available",
    "told apart": "distinguished",
    "told of": "notified of, listed with",
    "weather": "faults",
    "what is asked": "the request",
    "what is gone": "what was removed",
    "what it is told": "its settings, its instructions",
    "word of": "notice of, message about",
    "word from the backend": "inbound webhooks",
    "word to the backend": "outbound webhooks",
}

PROSE = re.compile(r"\b(?:" + "|".join(sorted(map(re.escape, PHRASES), key=len, reverse=True)) + r")\b", re.IGNORECASE)
# `told of` and a line break between the words are the same phrase.
PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
COMMENTED = {"", ".sh", ".yaml", ".yml", ".cfg", ".conf", ".j2", ".in", ".rules", ".ini", ".toml"}
# Modules that read what earlier versions stored: a string there that is one word is a key of that time.
READS_FORMER_NAMES = {"functions/adapters/documents/toolbox.py", "tests/adapters/test_documents.py"}
# This module and its test have to contain the refused words.
NAMES_THE_WORDS = {Path(__file__).resolve(), Path(__file__).resolve().with_name("test_language.py")}
SKIPPED_FOLDERS = {"__pycache__", "node_modules", ".git"}


@dataclass(frozen=True, order=True)
class Finding:
    """One refused word."""

    path: Path
    line: int
    word: str
    replacement: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.word}: use {self.replacement}"


def check(path: Path) -> list[Finding]:
    """The findings in one file, in the order of its lines."""
    text = path.read_text()
    if path.suffix == ".py":
        findings = [*_names(path, text), *_python_prose(path, text)]
    elif path.suffix == ".md":
        findings = list(_markdown_prose(path, text))
    else:
        findings = list(_comments(path, text))
    return sorted(findings)


def files(folders: list[str]) -> list[Path]:
    """The files below the folders that the check applies to."""
    found = set()
    for folder in folders:
        for path in [Path(folder), *Path(folder).rglob("*")]:
            checked = path.suffix in {".py", ".md"} or path.suffix in COMMENTED
            if path.is_file() and checked and not SKIPPED_FOLDERS & {*path.parts}:
                found.add(path)
    return sorted(path for path in found if path.resolve() not in NAMES_THE_WORDS)


def refused_name(name: str) -> str | None:
    """What to use instead of this identifier; None if the identifier is fine."""
    bare = name.strip("_")
    if bare in WHOLE_NAMES:
        return WHOLE_NAMES[bare]
    if bare.isupper() and bare.lower() in WHOLE_NAMES:
        return WHOLE_NAMES[bare.lower()]
    return next((NAME_PARTS[part] for part in map(str.lower, PARTS.findall(bare)) if part in NAME_PARTS), None)


def _names(path: Path, text: str) -> Iterator[Finding]:
    names = [(1, path.stem)]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            # A test's name is a sentence about behaviour, in which any English word may occur.
            if not node.name.startswith("test_"):
                names.append((node.lineno, node.name))
        elif isinstance(node, ast.arg):
            names.append((node.lineno, node.arg))
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append((node.lineno, node.id))
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.append((node.lineno, node.attr))
        elif isinstance(node, ast.alias) and node.asname:
            names.append((node.lineno, node.asname))
    for line, name in names:
        if path.stem == name and name.startswith("test_"):
            continue
        if replacement := refused_name(name):
            yield Finding(path, line, name, replacement)


def _python_prose(path: Path, text: str) -> Iterator[Finding]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield from _prose(path, token.start[0], token.string)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value.isidentifier() and path.as_posix().endswith(tuple(READS_FORMER_NAMES)):
                continue
            yield from _prose(path, node.lineno, node.value)


def _markdown_prose(path: Path, text: str) -> Iterator[Finding]:
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and not line.startswith("    "):
            yield from _prose(path, number, re.sub(r"`[^`]*`", "", line))


def _comments(path: Path, text: str) -> Iterator[Finding]:
    for number, line in enumerate(text.splitlines(), 1):
        comment = re.search(r"(?:^|\s)(?:#|//)(.*)", line)
        if comment:
            yield from _prose(path, number, comment[1])


def _prose(path: Path, first_line: int, text: str) -> Iterator[Finding]:
    # Phrases are found across the line breaks of a paragraph.
    for match in PROSE.finditer(re.sub(r"\s", " ", text)):
        line = first_line + text.count("\n", 0, match.start())
        yield Finding(path, line, match[0], PHRASES[match[0].lower()])


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("Usage: python -m tests.language FOLDER...")
    missing = [folder for folder in sys.argv[1:] if not Path(folder).exists()]
    if missing:
        sys.exit(f"There is no {', '.join(missing)} in {Path.cwd()}.")
    findings = [finding for path in files(sys.argv[1:]) for finding in check(path)]
    for finding in findings:
        print(finding)
    sys.exit(f"{len(findings)} findings. The tables in {Path(__file__).name} explain the words." if findings else 0)


if __name__ == "__main__":
    main()
