#!/usr/bin/python
# SPDX-License-Identifier: MIT
"""Puts scripts where slurmd runs them, so that at no moment one is there that is not executable."""

from __future__ import annotations

DOCUMENTATION = r"""
module: carbon_acct_hook
short_description: Put scripts where slurmd runs them
description:
  - A script is made elsewhere and moved in. slurmd drains a node for a script that is not executable, if only for a moment.
  - The package carbon-acct-node has put our hook into /etc/slurm/prolog.d and epilog.d; here is what a site's own prolog adds to it.
options:
  state: {description: Whether the scripts are there., type: str, choices: [present, absent], default: present}
  folders: {description: For Prolog and Epilog the folder of a glob of the site's own that gets our hook., type: dict, default: {}}
  scripts: {description: For Prolog and Epilog the site's own script that our folder's glob has to run., type: dict, default: {}}
author: [the authors of carbon-acct]
attributes:
  check_mode: {support: full, description: It can say what it would do.}
"""
EXAMPLES = r"""
- name: Have the site's own prolog run from our folder
  carbon_acct_hook:
    scripts:
      Prolog: /etc/slurm/prolog.sh
"""
RETURN = r"""
left: {description: Scripts that do nothing and had to stay., type: list, elements: str, returned: always}
ready: {description: Whether slurmd can run both hooks where slurm.conf will name them., type: bool, returned: always}
"""

import glob  # noqa: E402  Ansible wants the documentation first
import os  # noqa: E402
import time  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.carbon_acct_hooks import FOLDERS, HOOK, KINDS, glob_of  # type: ignore[import-not-found]  # noqa: E402

WRAPPER = "50-site.sh"
RUN = """\
#!/bin/sh
# Runs the site's own {kind}: slurm.conf has a glob now, by carbon-acct's Ansible role.
exec {script} "$@"
"""
INERT = "#!/bin/sh\n# carbon-acct-node was removed. Delete this file when slurm.conf no longer needs it.\nexit 0\n"
PATIENCE_S = 60


def main() -> None:
    """Run the module."""
    spec = {
        "state": {"choices": ["present", "absent"], "default": "present"},
        "folders": {"type": "dict", "default": {}},
        "scripts": {"type": "dict", "default": {}},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    folders, scripts = module.params["folders"], module.params["scripts"]
    changed, left = False, []
    for kind in KINDS:
        if module.params["state"] == "present":
            changed |= present(module, kind, folders.get(kind, ""), scripts.get(kind, ""))
        else:
            changed |= absent(module, kind, folders.get(kind, ""), left)
    ready = all(os.access(f"{folders.get(kind) or FOLDERS[kind]}/{HOOK}", os.X_OK) for kind in KINDS)
    module.exit_json(changed=changed, left=left, ready=ready)


def present(module: AnsibleModule, kind: str, folder: str, script: str) -> bool:
    """Have our hook in the folder of the site's own, and the site's own script run from ours; whether that changes anything."""
    changed = False
    source, wrapper = f"/usr/lib/carbon-acct/{kind.lower()}/{HOOK}", wrapper_of(kind)
    if script:
        if not os.access(script, os.X_OK):
            module.fail_json(msg=f"{script}: slurm.conf names it as {kind}, and here it is missing or not executable")
        strangers = sorted(set(glob.glob(glob_of(kind))) - {wrapper, f"{FOLDERS[kind]}/{HOOK}"})
        if strangers:
            more = f"slurmd does not run them today and would with {kind}={glob_of(kind)}; move them away"
            module.fail_json(msg=f"{', '.join(strangers)}: {more}")
        changed |= put(module, wrapper, RUN.format(kind=kind, script=script))
    if folder and os.path.exists(source):
        with open(source, encoding="utf-8") as file:
            changed |= put(module, f"{folder}/{HOOK}", file.read())
    elif folder and not os.path.isdir(folder):
        module.fail_json(msg=f"{folder}: slurm.conf has a glob there as {kind}, and here the folder is missing")
    return changed


def absent(module: AnsibleModule, kind: str, folder: str, left: list[str]) -> bool:
    """Take the site's script out of our folder, and have our hook in the site's do nothing; whether that changes anything."""
    changed, wrapper = False, wrapper_of(kind)
    if folder and os.path.exists(f"{folder}/{HOOK}"):  # the glob is the site's: a slurmd may be about to run it
        left.append(f"{folder}/{HOOK}")
        changed |= put(module, f"{folder}/{HOOK}", INERT)
    if os.path.exists(wrapper):
        changed = True
        if not module.check_mode:
            settle(module)
            os.unlink(wrapper)
    return changed


def wrapper_of(kind: str) -> str:
    """Return where the script is that runs the site's own one."""
    return f"{FOLDERS[kind]}/{WRAPPER}"


def put(module: AnsibleModule, path: str, text: str) -> bool:
    """Have an executable file at `path`; whether that changes anything."""
    try:
        with open(path, encoding="utf-8") as file:
            if file.read() == text and os.access(path, os.X_OK):
                return False
    except FileNotFoundError:
        pass
    if not module.check_mode:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        new = f"{os.path.dirname(path)}/.carbon-acct.new"  # no glob takes a name that begins with a dot
        with open(new, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o755)
        os.replace(new, path)
    return True


def settle(module: AnsibleModule) -> None:
    """Wait until slurmd runs no script: only one that began before the last reconfigure can still want ours."""
    deadline = time.monotonic() + PATIENCE_S
    while running := scripts_running():
        if time.monotonic() > deadline:
            module.fail_json(msg=f"slurmd has been running a prolog or epilog for {PATIENCE_S} s: process {running[0]}")
        time.sleep(0.2)


def scripts_running() -> list[int]:
    """Return the processes that slurmd has started and waits for, slurmstepd apart."""
    names, parents = {}, {}
    for stat in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(stat, encoding="utf-8", errors="replace") as file:
                head, _, tail = file.read().rpartition(")")
        except OSError:
            continue
        number, _, name = head.partition(" (")
        names[int(number)], parents[int(number)] = name, int(tail.split()[1])
    return [pid for pid, parent in parents.items() if names.get(parent) == "slurmd" and names[pid] != "slurmstepd"]


if __name__ == "__main__":
    main()
