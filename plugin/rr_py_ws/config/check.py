"""What becomes of each section: used, ignored and why, different from RoadRunner, wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from rr_py_ws.config.differences import differences
from rr_py_ws.config.models import Config
from rr_py_ws.config.report import Finding
from rr_py_ws.config.unread import IGNORED_SECTIONS, SECTIONS, unread
from rr_py_ws.config.used import used
from rr_py_ws.config.validate import problems
from rr_py_ws.config.yaml_file import lookup, place_of, without_item
from rr_py_ws.errors import ConfigError


def check(
    config: Config, found: Iterable[ConfigError] | None = None, advice: Iterable[Finding] = ()
) -> tuple[Finding, ...]:
    """Look at every section of a configuration.

    Args:
        config: the configuration.
        found: what keeps it from being served; None: what the file alone says of that.
        advice: what others have found, outside of the file.

    Returns:
        The findings, those of a section next to each other, in the order of the sections.
    """
    errors = list(problems(config) if found is None else found)
    # Of what is wrong the configuration has a default instead, which nobody has asked for.
    left_out = [error.key for error in errors if _is_left_out(config, error.key)]
    findings = [
        *(Finding(use.section, "used", use.text) for use in used(config) if not use.is_of(left_out)),
        *unread(config),
        *differences(config),
        *advice,
    ]
    # A section that could not be read at all is not missing, and what is not set is told with the error.
    wrong = {error.key for error in errors}
    told = wrong.intersection((*config.unset, *left_out))
    findings = [
        replace(one, place=place_of(config.places, one.key)) if one.key else one
        for one in findings
        if one.kind != "warning" or not (one.section in wrong or one.key in told)
    ]
    findings += map(finding_of, errors)
    order = list(dict.fromkeys((*SECTIONS, *config.tree, *(one.section for one in findings))))
    findings.sort(key=lambda finding: order.index(finding.section))  # stable: within a section, as found
    return tuple(findings)


def finding_of(error: ConfigError) -> Finding:
    """Make a line of the report of an error."""
    section = re.split(r"[.\[]", error.key)[0]
    # The key of another error is a file or a flag.
    known = section in (*SECTIONS, *IGNORED_SECTIONS) or bool(error.place and error.place.line)
    is_key = known and not error.key.startswith(("/", "-"))
    return Finding(section if is_key else "", "error", str(error), error.key if is_key else "", error.place)


def _is_left_out(config: Config, key: str) -> bool:
    # In the place of a broker that is not there, there is another one: see `loader`.
    return key == "websockets.broker" or lookup(config.tree, without_item(key)) is None
