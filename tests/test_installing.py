"""What the documentation says about installing, as far as it can be done without a registry or a daemon."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from rr_py_ws import __version__
from rr_py_ws.cli.entry import program, run
from rr_py_ws.cli.flags import Flags

ROOT = Path(__file__).parents[1]
INSTRUCTIONS = {"FROM", "COPY", "RUN", "ENV", "WORKDIR", "USER", "EXPOSE", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Containerfile, and what follows them."""
    lines = (ROOT / "examples" / "Containerfile").read_text().splitlines()
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines if line and line[0] != "#"]


def copies(stage: int) -> list[tuple[list[Path], str]]:
    """What one stage copies from the repository, and where to."""
    stages: list[list[tuple[list[Path], str]]] = []
    for name, rest in instructions():
        if name == "FROM":
            stages.append([])
        elif name == "COPY" and not rest.startswith("--from="):
            *sources, target = rest.split()
            stages[-1].append(([ROOT / source for source in sources], target))
    return stages[stage]


def test_the_containerfile_is_made_of_instructions_whose_files_exist() -> None:
    """Point 25: the recipe of an image."""
    found = instructions()
    assert {name for name, _ in found} == INSTRUCTIONS
    assert all(source.exists() for stage in (0, 1) for sources, _ in copies(stage) for source in sources)
    stages = [rest.partition(" AS ")[2] for name, rest in found if name == "FROM"]
    used = [rest for name, rest in found if name == "COPY" and rest.startswith("--from=")]
    assert all(rest.split()[0].removeprefix("--from=") in stages for rest in used)


def test_the_build_stage_has_what_the_build_reads() -> None:
    """Point 25: without README or LICENSE `pip install` fails."""
    build = {source.name for sources, _ in copies(0) for source in sources}
    project = (ROOT / "pyproject.toml").read_text()
    read = re.findall(r'^(?:readme = |license-files = \[)"(.+?)"', project, re.M)
    assert {"pyproject.toml", "plugin", *read} <= build


def test_the_image_starts_with_the_files_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Point 25: in a directory with the files of the image alone, `check` accepts what `serve` gets."""
    for sources, target in copies(1):
        for source in sources:
            place = tmp_path / Path(target).relative_to("/app")
            if source.is_dir():
                shutil.copytree(source, place, ignore=shutil.ignore_patterns("vendor", "tests"))
            else:
                shutil.copy(source, place)
    monkeypatch.chdir(tmp_path)
    found = dict(instructions())
    assert json.loads(found["ENTRYPOINT"]) == ["rr-py-ws"]
    command, *flags = json.loads(found["CMD"])
    program.commands[command].make_context(command, list(flags), obj=Flags())
    assert run(["check", *flags]) == 0, capfd.readouterr()
    assert (tmp_path / "examples" / "chat" / "worker").stat().st_mode & 0o111


def test_the_commands_for_pip_are_those_of_this_package() -> None:
    """Point 25: `pip install`, `pipx`."""
    page = (ROOT / "docs" / "operations.md").read_text().split("## Installing")[1].split("\n## ")[0]
    assert {shlex.split(line)[0] for line in re.findall(r"^(pipx? install .*)$", page, re.M)} == {
        "pip",
        "pipx",
    }
    assert "examples/Containerfile" in page
    assert __version__ in (ROOT / "plugin" / "rr_py_ws" / "__init__.py").read_text()


def test_the_path_repository_is_that_of_the_php_package() -> None:
    """Point 25: the package is at no registry; Composer takes it from a directory."""
    page = (ROOT / "php-client" / "README.md").read_text()
    [block] = re.findall(r"```json\n(.*?)```", page, re.S)
    composer = json.loads(block)
    name = json.loads((ROOT / "php-client" / "composer.json").read_text())["name"]
    assert composer["repositories"][0]["type"] == "path"
    assert composer["repositories"][0]["url"].endswith("/php-client")
    assert composer["require"] == {name: "@dev"}


def test_the_snippets_of_the_documentation_take_any_payload() -> None:
    """Point 25: after `publish news 'hello'`, the page's JSON.parse threw."""
    [bare] = re.findall(r"```js\n(.*?)```", (ROOT / "docs" / "protocol.md").read_text(), re.S)
    assert "JSON.parse(event.data)" in bare and "JSON.parse(payload)" not in bare
    [snippet] = re.findall(r"```js\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert "JSON.parse" not in snippet and "from 'rr-py-ws-client'" in snippet


def test_the_javascript_package_is_that_of_its_readme() -> None:
    """Its name and version are in the command that installs it, and in the file of the chat."""
    package = json.loads((ROOT / "js-client" / "package.json").read_text())
    name, version = package["name"], package["version"]
    page = (ROOT / "js-client" / "README.md").read_text()
    assert f"npm install path/to/{name}-{version}.tgz" in page.replace("\n", " ")
    built = (ROOT / "examples" / "chat" / "public" / f"{name}.js").read_text()
    assert built.startswith(f"// {name} {version}: ")
    assert "dependencies" not in package
    lock = (ROOT / "js-client" / "package-lock.json").read_text()
    assert '"resolved"' not in lock, "it would name the registry of one machine"
