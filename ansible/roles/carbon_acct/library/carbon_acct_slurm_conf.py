#!/usr/bin/python
# SPDX-License-Identifier: MIT
"""Has slurm.conf run the hooks, or no more; module_utils/carbon_acct_hooks.py says what that takes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: carbon_acct_slurm_conf
short_description: Have slurm.conf run the hooks of carbon-acct, or no more
description:
  - Finds out which scripts slurm.conf runs already, and changes as little as the release of Slurm allows.
  - Fails, without a change, where it is not certain what Slurm does with the lines.
  - With O(state=absent) the file becomes what it was before.
options:
  path: {description: The file., type: path, default: /etc/slurm/slurm.conf}
  state: {description: Whether it runs the hooks., type: str, choices: [present, absent], default: present}
  version: {description: The oldest release of Slurm among the nodes., type: str, default: ""}
  alloc: {description: Whether PrologFlags gets Alloc., type: bool, default: true}
author: [the authors of carbon-acct]
attributes:
  check_mode: {support: full, description: It can say what it would do.}
  diff_mode: {support: full, description: It shows the lines that change.}
"""
EXAMPLES = r"""
- name: Have slurm.conf run the hooks
  carbon_acct_slurm_conf:
    version: "22.05.8"
"""
RETURN = r"""
cases: {description: For Prolog and Epilog what was found., type: dict, returned: state is present}
folders: {description: Folders of the site's own that the hooks are put into., type: dict, returned: always}
scripts: {description: Scripts of the site that are run from our folders., type: dict, returned: state is present}
"""

import os  # noqa: E402  Ansible wants the documentation first
import tempfile  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible.module_utils.carbon_acct_hooks import (  # type: ignore[import-not-found]  # noqa: E402
    UnclearError,
    folders_of,
    includes_of,
    lines_of,
    plan,
    undo,
    version_of,
)


def main() -> None:
    """Run the module."""
    spec = {
        "path": {"type": "path", "default": "/etc/slurm/slurm.conf"},
        "state": {"choices": ["present", "absent"], "default": "present"},
        "version": {"default": ""},
        "alloc": {"type": "bool", "default": True},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    path = module.params["path"]
    result = {"changed": False}
    try:
        before = read(path)
        if module.params["state"] == "present":
            texts = texts_of(path, before)
            wanted = plan(path, texts, version_of(module.params["version"]), module.params["alloc"])
            after = wanted.text
            result |= {"cases": wanted.cases, "folders": wanted.folders, "scripts": wanted.scripts}
        else:
            after = undo(path, before)
            result["folders"] = folders_still(path, after)
    except UnclearError as err:
        module.fail_json(msg=f"{err}. Nothing was changed.")
    result["changed"] = after.rstrip("\n") != before.rstrip("\n")
    if result["changed"]:
        result["diff"] = {"before": before, "after": after, "before_header": path, "after_header": path}
        if not module.check_mode:
            write(module, path, after)
    module.exit_json(**result)


def texts_of(path: str, text: str) -> dict[str, str]:
    """Return the texts of a slurm.conf and of what it includes. Raises UnclearError."""
    names = [os.path.join(os.path.dirname(path), name) for name in includes_of(text)]
    return {path: text} | {name: read(name) for name in names}


def folders_still(path: str, text: str) -> dict[str, str]:
    """Return the folders of the site's own that have our hooks; none where the lines cannot be read, since a removal goes on."""
    try:
        return folders_of([line for file, one in texts_of(path, text).items() for line in lines_of(one, file)])
    except UnclearError:
        return {}


def read(path: str) -> str:
    """Return a file's text. Raises UnclearError."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError as err:
        raise UnclearError(f"{path}: {err.strerror}") from err


def write(module: AnsibleModule, path: str, text: str) -> None:
    """Replace a file at once; owner and mode stay."""
    number, new = tempfile.mkstemp(dir=module.tmpdir)
    with os.fdopen(number, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    module.atomic_move(new, os.path.realpath(path))


if __name__ == "__main__":
    main()
