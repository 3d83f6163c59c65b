# SPDX-License-Identifier: MIT
"""The plan for a slurm.conf: each case that a site may have, and the way back."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm.layout import CHECKOUT


def load() -> ModuleType:
    """The role's module, as Ansible would import it."""
    path = CHECKOUT / "ansible/roles/carbon_acct/module_utils/carbon_acct_hooks.py"
    spec = importlib.util.spec_from_file_location("carbon_acct_hooks", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


hooks = load()
CONF = "/etc/slurm/slurm.conf"
OLD, NEW = (22, 5), (24, 5)
REST = "ClusterName=c\n{}NodeName=n1 CPUs=8  # Prolog=in a comment\nPartitionName=p Nodes=ALL\n"
HEAD = "# BEGIN carbon-acct (Ansible role): state absent takes this out\n"
TAIL = "# END carbon-acct\n"


def planned(lines: str, version: tuple[int, int] = OLD, **more: str) -> tuple[dict[str, str], str]:
    """The cases and the text for a slurm.conf with these lines; `more` are files that it includes."""
    text = REST.format(lines)
    plan = hooks.plan(CONF, {CONF: text, **{f"/etc/slurm/{name}": value for name, value in more.items()}}, version)
    return plan.cases, plan.text


def test_no_prolog() -> None:
    """A site without one gets both lines and the flag, at the end, between marks."""
    cases, text = planned("")

    assert cases == {"Prolog": "none", "Epilog": "none"}
    lines = "Prolog=/etc/slurm/prolog.d/carbon-acct.sh\nEpilog=/etc/slurm/epilog.d/carbon-acct.sh\nPrologFlags=Alloc\n"
    assert text == REST.format("") + HEAD + lines + TAIL


@pytest.mark.parametrize("name", ["*", "*.sh", "carbon-acct.sh", "c*"])
def test_ours_already(name: str) -> None:
    """What names our hooks, or a glob that takes them, is left as it is."""
    lines = f"PROLOG = /etc/slurm/prolog.d/{name}\nEpilog=/etc/slurm/epilog.d/{name} # ours\nPrologFlags=X11\n"
    cases, text = planned(lines)

    assert set(cases.values()) == {"ours"}
    assert text == REST.format(lines)


def test_a_glob_elsewhere() -> None:
    """A site's own glob stays, its folder gets our hook, and the removal still knows that folder."""
    text = REST.format("Prolog=/opt/site/pro/*.sh\nEpilog=/opt/site/epi/*\nPrologFlags=Alloc\n")
    plan = hooks.plan(CONF, {CONF: text}, OLD)

    assert plan.folders == {"Prolog": "/opt/site/pro", "Epilog": "/opt/site/epi"}
    assert plan.text == text
    assert hooks.folders_of(hooks.lines_of(hooks.undo(CONF, text), CONF)) == plan.folders


def test_a_script_before_several_lines() -> None:
    """Before 24.05 a site's own script is run from our folder by a glob, and the flag is added to the site's own."""
    text = REST.format("Prolog=/opt/pro.sh\nEpilog=/etc/slurm/epilog.d/own.sh\nPrologFlags=Serial\n")
    plan = hooks.plan(CONF, {CONF: text}, (23, 11))

    assert plan.scripts == {"Prolog": "/opt/pro.sh"}
    assert "\nProlog=/etc/slurm/prolog.d/*.sh\nEpilog" not in plan.text
    lines = [line for line in plan.text.splitlines() if line.startswith(("Pro", "Epi"))]
    assert lines == ["Prolog=/etc/slurm/prolog.d/*.sh", "Epilog=/etc/slurm/epilog.d/*.sh", "PrologFlags=Serial,Alloc"]


@pytest.mark.parametrize("value", ["/opt/pro.sh", "pro.sh", "/opt/pro/[0-9]*"])
def test_a_script_with_several_lines(value: str) -> None:
    """Since 24.05 a line is added, whatever the site's own is: a script, a name without a folder, a glob."""
    lines = f"Prolog={value}\nProlog=/opt/second.sh\nEpilog=/opt/epi.sh\n"
    cases, text = planned(lines, NEW)

    assert cases == {"Prolog": "lines", "Epilog": "lines"}
    assert text.startswith(REST.format(lines))
    assert "\nProlog=/etc/slurm/prolog.d/carbon-acct.sh\n" in text


@pytest.mark.parametrize(
    ("lines", "version", "says"),
    [
        (
            "Prolog=/a.sh\nProlog=/b.sh\n",
            OLD,
            "line 2 and /etc/slurm/slurm.conf, line 3: Slurm 22.05 runs the Prolog of the",
        ),
        ("Prolog=/a.sh,/b.sh\n", OLD, "no script and no glob"),
        ("Prolog=/a.sh,/b.sh\n", NEW, "no script and no glob"),
        ("Prolog=pro.sh\n", OLD, "'pro.sh' has no folder, so no slurmd finds it before Slurm 23.11"),
        ("Prolog=pro.sh\n", (23, 11), "'pro.sh' has no folder, so slurmctld sends it to the nodes"),
        ("Epilog=/opt/epi/[0-9]*\n", OLD, "takes no file named carbon-acct.sh"),
        ("Prolog=/a.sh Epilog=/b.sh\n", NEW, "more than this role can read"),
        ("Prolog=\\\n/a.sh\n", NEW, "more than this role can read"),
        ("Prolog=\n", NEW, "more than this role can read"),
    ],
)
def test_what_is_not_certain(lines: str, version: tuple[int, int], says: str) -> None:
    """Where it is not certain what Slurm runs, one message says where and why, and nothing is planned."""
    with pytest.raises(hooks.UnclearError) as raised:
        planned(lines, version)

    assert says in str(raised.value)
    assert "/etc/slurm/slurm.conf, line " in str(raised.value)


def test_what_is_included() -> None:
    """A prolog in an included file is seen; where that file would have to change, the message names it."""
    cases, _ = planned("Include hooks\n", hooks="Prolog=/etc/slurm/prolog.d/*\n")
    assert cases == {"Prolog": "ours", "Epilog": "none"}
    assert hooks.includes_of("include hooks # here\n#Include no\n") == ["hooks"]
    with pytest.raises(hooks.UnclearError, match="/etc/slurm/hooks, line 1: this role changes"):
        planned("Include hooks\n", hooks="Prolog=/opt/pro.sh\n")


def test_a_line_that_was_changed_since() -> None:
    """The way back stops where an administrator has changed what the role wrote."""
    _, text = planned("Prolog=/opt/pro.sh\n")
    changed = text.replace("Prolog=/etc/slurm/prolog.d/*.sh", "Prolog=/opt/other.sh")

    with pytest.raises(hooks.UnclearError, match="was changed since"):
        hooks.undo(CONF, changed)


def test_lines_by_hand() -> None:
    """The way back takes out lines that somebody wrote by hand for our hooks alone."""
    own = "Prolog=/etc/slurm/prolog.d/carbon-acct.sh\nEpilog=/etc/slurm/epilog.d/carbon-acct.sh # ours\n"

    assert hooks.undo(CONF, REST.format(own)) == REST.format("")


def test_releases() -> None:
    """What slurmd -V says is a release; anything else is not certain."""
    assert hooks.version_of("slurm-wlm 22.05.8") == (22, 5)
    assert hooks.version_of("slurm 24.11.5") > hooks.SEVERAL_LINES
    with pytest.raises(hooks.UnclearError):
        hooks.version_of("command not found")


VALUES = st.sampled_from(
    ["/opt/a.sh", "/etc/slurm/prolog.d/*", "/etc/slurm/epilog.d/own.sh", "/opt/d/*.sh", "x.sh", "/a,b"]
)
LINES = st.one_of(
    st.builds(
        "{}={}{}".format, st.sampled_from(["Prolog", "epilog", " PROLOG "]), VALUES, st.sampled_from(["", " # x"])
    ),
    st.builds("PrologFlags={}".format, st.sampled_from(["Alloc", "Serial", "contain", "X11,NoHold"])),
    st.sampled_from(["", "# Prolog=/no", "ClusterName=c", "NodeName=n[1-9] CPUs=4 \\", "  Sockets=1"]),
)


@pytest.mark.slow
@given(st.lists(LINES, max_size=8), st.sampled_from([OLD, (23, 11), NEW, (26, 5)]), st.booleans())
def test_there_and_back(lines: list[str], version: tuple[int, int], alloc: bool) -> None:
    """Whatever the file, either nothing is planned, or planning again changes nothing and the way back leads to the same file."""
    text = "".join(f"{line}\n" for line in lines)
    try:
        plan = hooks.plan(CONF, {CONF: text}, version, alloc)
    except hooks.UnclearError:
        return
    again = hooks.plan(CONF, {CONF: plan.text}, version, alloc)

    assert again.text == plan.text
    assert set(again.cases.values()) <= {"ours", "glob"}
    assert hooks.undo(CONF, plan.text) == text
    kept = [line for line in text.splitlines() if not line.lower().strip().startswith(("prolog", "epilog"))]
    assert [line for line in plan.text.splitlines() if line in kept][: len(kept)] == kept
