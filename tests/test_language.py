"""The language check finds refused names where they are defined and refused phrases in prose, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import language


def findings(path: Path, text: str) -> list[tuple[int, str]]:
    path.write_text(text)
    return [(finding.line, finding.word) for finding in language.check(path)]


@pytest.mark.parametrize(
    ("definition", "name"),
    [
        ("def told(): ...", "told"),
        ("class Birth: ...", "Birth"),
        ("def f(asked): ...", "asked"),
        ("x = told_at = 1", "told_at"),
        ("class C:\n    strays: int", "strays"),
        ("ASLEEP = 1", "ASLEEP"),
        ("def f(self):\n    self._kept = 1", "_kept"),
        ("for one in (): ...", "one"),
        ("class Ports: ...", "Ports"),
        ("import os as weather", "weather"),
    ],
)
def test_refused_name_is_found_where_it_is_defined(tmp_path: Path, definition: str, name: str) -> None:
    assert [word for _, word in findings(tmp_path / "module.py", definition)] == [name]


@pytest.mark.parametrize(
    "text",
    [
        "x = query.asked",
        "f(told=1)",
        "from x import told",
        "x = ports",
        "ports = 1",
        "def test_what_is_told(): ...",
        "# The caller asked for one.",
        "most_recent = 1",
        "wished = 1",
        "claims = {}",
        "standing = 1",
    ],
)
def test_uses_and_ordinary_english_are_accepted(tmp_path: Path, text: str) -> None:
    assert findings(tmp_path / "module.py", text) == []


def test_refused_module_name_is_found(tmp_path: Path) -> None:
    assert findings(tmp_path / "farewell.py", "") == [(1, "farewell")]


def test_phrase_is_found_in_comment_docstring_and_message_across_lines(tmp_path: Path) -> None:
    text = '"""Fine.\n\nThis is told\napart."""\n# anew\nraise ValueError(f"{1} a stranger")\n'
    assert findings(tmp_path / "module.py", text) == [(3, "told apart"), (5, "anew"), (6, "stranger")]


def test_phrase_is_found_in_markdown_but_not_in_code(tmp_path: Path) -> None:
    text = "It is made anew.\n\n    anew\n\n```\nanew\n```\n\nThe word `anew`.\n"
    assert findings(tmp_path / "README.md", text) == [(1, "anew")]


def test_phrase_is_found_in_the_comments_of_a_script(tmp_path: Path) -> None:
    assert findings(tmp_path / "run", "#!/bin/sh\necho anew\ntrue  # anew\n") == [(3, "anew")]


def test_module_is_found_below_a_folder_and_the_exit_status_is_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "module.py").write_text("told = 1\n")
    monkeypatch.setattr("sys.argv", ["language", str(tmp_path)])
    with pytest.raises(SystemExit, match="1 findings"):
        language.main()
    assert f"{tmp_path}/module.py:1: told: use detail" in capsys.readouterr().out


def test_only_the_check_and_its_own_test_are_left_out() -> None:
    folder = Path(__file__).parent
    modules = set(folder.glob("*.py"))
    assert modules - set(language.files([str(folder)])) == {folder / "language.py", folder / "test_language.py"}


def test_folder_that_does_not_exist_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["language", "no-such-folder"])
    with pytest.raises(SystemExit, match="no-such-folder"):
        language.main()
