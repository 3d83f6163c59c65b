# SPDX-License-Identifier: MIT
"""carbon-mgr init: what it finds out, asks and writes, and the commands that it prints for each kind of site."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from accounting.slurm_programs import SLURM_CONF, StandIn
from carbon_acct.cli import mgr
from carbon_acct.cli.mgr import init
from carbon_acct.doctor import facts
from carbon_acct.doctor.facts import Facts
from carbon_collector import settings

UBUNTU = 'PRETTY_NAME="Ubuntu 24.04.1 LTS"\nID=ubuntu\nID_LIKE=debian\n'
EL9 = 'PRETTY_NAME="Rocky Linux 9.4"\nID="rocky"\nID_LIKE="rhel centos fedora"\n'


def site(slurm: StandIn, release: str = UBUNTU, version: str = "22.05.8", **conf: str) -> Facts:
    """The facts of a site whose nodes are elsewhere, with these lines in slurm.conf."""
    lines = SLURM_CONF | {"Prolog": "(null)", "Epilog": "(null)", "PrologFlags": "(null)"} | conf
    slurm.says("scontrol show config", "".join(f"{key} = {value}\n" for key, value in lines.items()))
    slurm.says("sinfo", "n1 n1 10.0.0.1\nn2 n2 10.0.0.2\n")
    slurm.jobs([], version=version)
    path = slurm.folder / "os-release"
    path.write_text(release)
    return replace(facts.find(slurm.programs, path), host="head", aggregator_uid=997)


def test_what_it_finds_out(slurm: StandIn) -> None:
    """Distribution, Slurm's release, cluster, nodes and hooks, and who sees what, are said without a question."""
    slurm.rights(private="jobs,usage")
    text = "\n".join(init.told(site(slurm, Prolog="/opt/p.sh")))

    assert "Ubuntu 24.04.1 LTS" in text
    assert "22.05, cluster demo, 2 nodes, 2 of them on other hosts" in text
    assert "Prolog: /opt/p.sh\n" in text
    assert "Epilog: none" in text
    assert "PrivateData=jobs,usage" in text
    assert "own jobs" in text


def test_what_it_writes(slurm: StandIn, tmp_path: Path) -> None:
    """The file is one that the aggregator starts with, has every setting, and addresses that the nodes reach."""
    slurm.rights()
    found, path = site(slurm), tmp_path / "c.conf"
    options = mgr.parser().parse_args(["init", "--zone", "FR", "--pue", "1.25", "--timezone", "Europe/Paris", "-y"])
    text = init.written(init.chosen(options, found))
    init.check(text)
    path.write_text(text)
    config = settings.load(str(path))

    assert [config.text("site", key) for key in ("cluster", "zone", "pue", "timezone")] == [
        *("demo", "FR", "1.25", "Europe/Paris")
    ]
    assert config.text("aggregator", "listen") == "0.0.0.0:6829"
    assert config.aggregators() == ["http://head:6829"]
    assert config.origin("collector", "aggregator_user") == "default"
    assert {s.key for s in settings.SETTINGS} == {
        line.lstrip("#").partition(" =")[0] for line in text.splitlines() if " =" in line and "# " not in line[:2]
    }
    own = replace(found, elsewhere=(), aggregator_uid=1007)
    assert init.chosen(options, own)["aggregator", "listen"] == "127.0.0.1:6829"
    assert init.chosen(options, own)["collector", "aggregator_user"] == "1007"


STEPS = {
    "none": ({}, "22.05.8", ["Prolog=/etc/slurm/prolog.d/carbon-acct.sh", "PrologFlags=Alloc", "scontrol reconfigure"]),
    "script": (
        {"Prolog": "/opt/p.sh", "PrologFlags": "NoHold"},
        "22.05.8",
        ["exec /opt/p.sh", "Prolog=/etc/slurm/prolog.d/*.sh     # in place of Prolog=/opt/p.sh", "NoHold,Alloc"],
    ),
    "several": (
        {"Prolog[0]": "/opt/p.sh", "Prolog[1]": "q.sh"},
        "24.05.1",
        ["Prolog=/etc/slurm/prolog.d/carbon-acct.sh\n"],
    ),
    "glob": (
        {"Prolog": "/opt/p.d/*", "Epilog": "/etc/slurm/epilog.d/*", "PrologFlags": "Contain"},
        "23.02.1",
        ["/usr/lib/carbon-acct/prolog/carbon-acct.sh /opt/p.d/carbon-acct.sh", "slurm.conf stays as it is"],
    ),
    "configless": ({"Prolog": "p.sh"}, "23.11.4", ["by hand", "slurmctld sends it to the nodes"]),
    "configless before 23.11": ({"Prolog": "p.sh"}, "23.02.1", ["by hand", "no slurmd finds it before Slurm 23.11"]),
}


@pytest.mark.parametrize("name", STEPS)
def test_the_next_commands(slurm: StandIn, name: str) -> None:
    """The commands are those for this site's prolog and release; files on nodes come before slurm.conf, and that before the reconfigure."""
    conf, version, says = STEPS[name]
    text = "\n".join(init.next_steps(site(slurm, version=version, **conf), Path("/etc/carbon-acct/carbon-acct.conf")))

    for line in says:
        assert line in text
    order = ["adminlevel=operator", "systemctl enable --now carbon-aggregator", "dpkg -i carbon-acct-node_"]
    places = [text.index(one) for one in (*order, "# 3.", "probe --doctor")]
    assert places == sorted(places)


def test_a_slurm_that_does_not_answer(slurm: StandIn) -> None:
    """Where Slurm could not be asked, no node is named, and the lines of slurm.conf are left to a second run."""
    found = replace(site(slurm), release=None, nodes=())
    text = "\n".join(init.next_steps(found, Path("/etc/carbon-acct/carbon-acct.conf")))

    assert "# 2. On every node of the cluster, as root:" in text
    assert "run `carbon-mgr init --dry-run` again" in text
    assert "Prolog=" not in text


def test_each_distribution_has_its_commands(slurm: StandIn) -> None:
    """The RHEL family installs rpms."""
    text = "\n".join(init.next_steps(site(slurm, EL9), Path("/etc/carbon-acct/carbon-acct.conf")))

    assert "dnf install ./carbon-acct-node-*.rpm" in text
    assert "dpkg" not in text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-y"], "--zone is needed"),
        (["--zone", "XX-NOWHERE", "-y"], "XX-NOWHERE"),
        (["--zone", "DE", "--pue", "0.5", "-y"], "[site] pue"),
        (["--zone", "DE", "--timezone", "Mars", "-y"], "no such time zone"),
        (["--zone", "DE", "--listen", "tea", "-y"], "[aggregator] listen"),
        (["--zone", "DE", "--database", "oracle://h/c", "-y"], "none of SQLite, MariaDB and PostgreSQL"),
        (["--zone", "DE"], "nobody answers"),
    ],
)
def test_bad_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], says: str
) -> None:
    """An answer that the aggregator would not start with is named in one line, and nothing is written."""
    path = tmp_path / "c.conf"
    with Path("/dev/null").open() as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        status = mgr.main(["--config", str(path), "init", *words])
    error = capsys.readouterr().err

    assert status in (1, 2)
    assert len(error.splitlines()) == 1
    assert says in error
    assert not path.exists()


def test_a_file_that_is_there_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second run changes nothing without --force; a file with a password is not for everybody to read."""
    path = tmp_path / "new" / "c.conf"
    given = ["--config", str(path), "init", "--zone", "DE", "--yes"]
    assert mgr.main(given) == 0
    before = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o644
    assert mgr.main([*given, "--pue", "1.2"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert path.read_text() == before
    assert mgr.main([*given, "--database", "mysql+pymysql://carbon:secret@db/carbon", "--force"]) == 0
    assert path.stat().st_mode & 0o777 == 0o640
    assert "secret" not in capsys.readouterr().out


def test_answers_are_asked_for(tmp_path: Path) -> None:
    """In a terminal the four questions are asked in turn; an empty answer takes the default."""
    path = tmp_path / "c.conf"
    code = "from carbon_acct.start import mgr; import sys; sys.exit(mgr())"
    command = [sys.executable, "-c", code, "--config", str(path), "init"]
    done = subprocess.run(command, input="FR\n1.3\n\n\n", capture_output=True, text=True, check=False)
    config = settings.load(str(path))

    assert done.returncode == 0, done.stderr
    assert (config.text("site", "zone"), config.text("site", "pue"), config.text("site", "timezone")) == (
        *("FR", "1.3", "UTC"),
    )
    assert config.origin("aggregator", "database") == "default"
