# SPDX-License-Identifier: MIT
"""What has to change in slurm.conf: carbon-mgr's plan and the Ansible role's are the same for every site."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ansible.test_slurm_conf import CONF, hooks
from carbon_acct.slurm.hooks import KINDS, SEVERAL_LINES, steps

VALUES = [
    *("/opt/p.sh", "/opt/p.d/*", "/opt/p.d/*.sh", "/opt/p.d/[0-9]*", "p.sh", "/opt/a.sh,/opt/b.sh", "/opt/*/p.sh"),
    *("/etc/slurm/prolog.d/*", "/etc/slurm/epilog.d/*.sh", "/etc/slurm/prolog.d/carbon-acct.sh"),
    *("/etc/slurm/epilog.d/carbon-acct.sh", "/etc/slurm/prolog.d/own.sh"),
]
lines = st.lists(st.sampled_from(VALUES), max_size=2)
versions = st.sampled_from([(22, 5), (23, 11), (24, 5), (25, 11)])
flags = st.sampled_from([[], ["Alloc"], ["NoHold"], ["Contain,X11"], ["DeferBatch,Serial"]])


@given(lines, lines, flags, versions)
def test_it_is_the_roles_plan(prolog: list[str], epilog: list[str], flag: list[str], version: tuple[int, int]) -> None:
    """Case by case and line by line the two say the same, and what one does not understand the other does not."""
    values = {"Prolog": prolog, "Epilog": epilog, "PrologFlags": flag}
    conf = "".join(f"{key}={value}\n" for key, many in values.items() for value in many)
    found = steps(values, version)
    try:
        plan = hooks.plan(CONF, {CONF: conf}, version)
    except hooks.UnclearError:
        assert "unclear" in [step.case for step in found]
        return

    assert {kind: step.case for kind, step in zip(KINDS, found, strict=False)} == plan.cases
    written = [line for line in plan.text.splitlines() if not line.startswith("#")]
    kept = [f"{key}={value}" for key, many in values.items() for value in many]
    for step, key in zip(found, values, strict=True):
        if step.line and step.replaces:
            kept.remove(f"{key}={step.replaces}")
        kept += [step.line] if step.line else []
    assert sorted(kept) == sorted(written)


def test_since_when_there_are_several_lines() -> None:
    """Both plans name the same release."""
    assert hooks.SEVERAL_LINES == SEVERAL_LINES
