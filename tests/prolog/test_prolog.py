# SPDX-License-Identifier: MIT
"""prolog and epilog leave a whole ticket, start or wake the collector, harm nobody, and always exit 0 at once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from carbon_collector import ticket

from .conftest import BOUND_S, EPILOG, PATIENCE_S, PROLOG, Slurmd

JOB = {"SLURM_JOB_ID": "42", "SLURMD_NODENAME": "n1", "SLURM_CLUSTER_NAME": "tiny", "SLURM_JOB_UID": "1000"}
HOSTILE = [
    "two\nlines\n",
    "$(touch pwned)`touch pwned`${IFS}",
    "-n",
    "--",
    "%s%n\\0\\n",
    "'\"\\;|&><*?[~",
    "END=1",
    "KIND=epilog",
    "x" * 100_000,
    "\x01\x1b[2J\x7f",
    "\udcff\udcfe broken UTF-8",
    "=cmd()",
]


def test_the_scripts_pass_shellcheck() -> None:
    """As Makefile's lint has it, so that a plain pytest run sees it too."""
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("shellcheck is not installed (Debian: apt-get install shellcheck)")
    done = subprocess.run([program, PROLOG], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "")


def test_the_epilog_is_the_same_script() -> None:
    """One script, two names: they cannot drift apart."""
    assert EPILOG.is_symlink()
    assert EPILOG.resolve() == PROLOG.resolve()
    assert os.access(PROLOG, os.X_OK)


@pytest.mark.parametrize(
    ("script", "context", "kind"),
    [
        (PROLOG, "prolog_slurmd", "prolog"),
        (EPILOG, "epilog_slurmd", "epilog"),
        (EPILOG, "", "epilog"),
        (PROLOG, "", "prolog"),
        (PROLOG, "epilog_slurmd", "epilog"),
    ],
)
def test_the_ticket_says_who_and_which(slurmd: Slurmd, script: Path, context: str, kind: str) -> None:
    """Slurm's context tells prolog from epilog, else the script's name; the ticket is whole, and root's alone."""
    done = slurmd.run(script, {**JOB, "SLURM_SCRIPT_CONTEXT": context} if context else JOB)

    [path] = slurmd.tickets
    found = ticket.read(str(path), "n1", 0)
    assert (done.status, done.said) == (0, "")
    assert found is not None
    assert (found.kind, found.job.job_id, found.job.uid, found.job.cluster) == (kind, 42, 1000, "tiny")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("end", "percent", "expected"),
    [
        ({"SLURM_JOB_END_TIME": "1700003600"}, {"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "25"}, (1_700_003_600, 25)),
        ({"SLURM_JOB_END_TIME": "0"}, {"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "100"}, (None, 100)),
        ({"SLURM_JOB_END_TIME": "soon"}, {"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "0"}, (None, None)),
        ({"SLURM_JOB_END_TIME": "-1"}, {"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "101"}, (None, None)),
        ({}, {}, (None, None)),
    ],
)
def test_the_ticket_has_the_planned_end_and_the_part_of_the_gpus(
    slurmd: Slurmd, end: dict[str, str], percent: dict[str, str], expected: tuple[int | None, int | None]
) -> None:
    """Where Slurm says them; what it does not say, and what is none, is not known."""
    done = slurmd.run(PROLOG, {**JOB, **end, **percent})

    [path] = slurmd.tickets
    found = ticket.read(str(path), "n1", 0)
    assert done.status == 0
    assert found is not None
    assert (found.job.end_time, found.job.gpu_percent) == expected


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_values_stay_values(slurmd: Slurmd, value: str) -> None:
    """Nothing in the environment is evaluated, cut, or taken for another field."""
    names = ("SLURM_JOB_USER", "SLURM_JOB_ACCOUNT", "SLURM_JOB_PARTITION", "CUDA_VISIBLE_DEVICES")
    names += ("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "SLURM_JOB_END_TIME")
    noise = {"SLURM_JOB_COMMENT": value, "SPANK_X": value, "IFS": value, "ENV": value}
    done = slurmd.run(PROLOG, {**JOB, **noise, **dict.fromkeys(names, value)}, before=f"cd {slurmd.root}")

    [path] = slurmd.tickets
    env = dict(item.split(b"=", 1) for item in path.read_bytes().split(b"\0") if item)
    assert done.status == 0
    assert {env[name.encode()] for name in names} == {os.fsencode(value)}
    assert (env[b"KIND"], env[b"SLURM_JOB_ID"], env[b"END"]) == (b"prolog", b"42", b"1")
    assert not list(slurmd.root.glob("**/pwned"))


@pytest.mark.parametrize("value", ["../../../pwned", "1/2", "1 2", "*", "", "\n", "-1"])
def test_a_hostile_job_id_leads_nowhere(slurmd: Slurmd, value: str) -> None:
    """Slurm's JobID is a number; whatever else it were, nothing is written outside of the tickets."""
    done = slurmd.run(PROLOG, {**JOB, "SLURM_JOB_ID": value}, before=f"cd {slurmd.root}")

    assert done.status == 0
    outside = {path.name for path in slurmd.root.rglob("*") if path.parent.name != "tickets"}
    assert outside <= {"carbon-acct.conf", "run", "tickets"}


def test_no_environment_at_all(slurmd: Slurmd) -> None:
    """Not even PATH: still a ticket, still 0."""
    done = slurmd.run(PROLOG, before="unset PATH SLURM_JOB_ID PWD OLDPWD")

    assert (done.status, done.said) == (0, "")
    assert len(slurmd.tickets) == 1


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"])
def test_closed_or_full_output(slurmd: Slurmd, closed: str) -> None:
    """Nowhere to speak is no reason to fail, even with something to say."""
    slurmd.run_dir.write_text("no folder")
    done = slurmd.run(PROLOG, JOB, before=f"exec {closed}")

    assert done.status == 0
    assert done.took_s < BOUND_S


@pytest.mark.parametrize("obstacle", ["file", "dangling", "loop", "file in its place"])
def test_a_run_directory_that_is_none(slurmd: Slurmd, obstacle: str) -> None:
    """Exit 0, one line that says so, at once."""
    if obstacle == "file":
        slurmd.run_dir.write_text("")
    elif obstacle == "dangling":
        slurmd.run_dir.symlink_to(slurmd.root / "nowhere")
    elif obstacle == "loop":
        slurmd.run_dir.symlink_to(slurmd.run_dir)
    else:
        slurmd.run_dir.mkdir()
        (slurmd.run_dir / "tickets").write_text("")
    done = slurmd.run(PROLOG, JOB)

    assert done.status == 0
    assert done.said.startswith("carbon-acct: no ticket for job 42")
    assert len(done.said.splitlines()) == 1
    assert done.took_s < BOUND_S


@pytest.mark.parametrize("mount", ["size=4k,nr_inodes=3", "size=4k", "ro"])
def test_a_run_directory_on_a_full_or_read_only_disk(slurmd: Slurmd, mount: str) -> None:
    """Exit 0, one line that says so, at once."""
    slurmd.run_dir.mkdir()
    fill = f"head -c 9000 /dev/zero >{slurmd.run_dir}/tickets/ballast" if mount != "ro" else ":"
    made = f"/bin/mkdir {slurmd.run_dir}/tickets" if mount != "ro" else ":"
    before = f"PATH=/bin\nmount -t tmpfs -o {mount} none {slurmd.run_dir} || exit 9\n{{ {made}\n{fill}\n}} 2>/dev/null\nunset PATH"
    done = slurmd.run(PROLOG, JOB, before=before, private=True)

    assert done.status == 0
    assert done.said.startswith("carbon-acct: no ticket for job 42")
    assert len(done.said.splitlines()) == 1
    assert done.took_s < BOUND_S


@pytest.mark.parametrize("victim", ["file", "missing", "folder"])
def test_a_link_at_the_tickets_name_is_not_followed(slurmd: Slurmd, victim: str) -> None:
    """What is there already is left alone, and what it points to as well."""
    target = slurmd.root / "victim"
    if victim == "file":
        target.write_text("precious")
    elif victim == "folder":
        target.mkdir()
    (slurmd.run_dir / "tickets").mkdir(parents=True)
    done = slurmd.run(PROLOG, JOB, before=f"/bin/ln -s {target} {slurmd.run_dir}/tickets/prolog.42.$$")

    assert done.status == 0
    assert "no ticket for job 42" in done.said
    assert not target.exists() if victim == "missing" else target.exists()
    assert victim != "file" or target.read_text() == "precious"
    assert victim != "folder" or list(target.iterdir()) == []


def test_a_running_collector_is_woken_without_a_fork(slurmd: Slurmd, sleeper: subprocess.Popen[bytes]) -> None:
    """One process, no child: the ticket is written and the signal sent by the shell itself."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed (Debian: apt-get install strace)")
    slurmd.run(PROLOG, JOB)
    (slurmd.run_dir / "collector.pid").write_text(f"{sleeper.pid}\n")
    trace = slurmd.root / "trace"
    done = subprocess.run(
        [strace, "-f", "-o", trace, "-e", "trace=process,kill", slurmd.shell, PROLOG],
        env={**JOB, "CARBON_ACCT_CONF": str(slurmd.conf)},
        capture_output=True,
        check=False,
    )
    if "ptrace" in done.stderr.decode():
        pytest.skip(f"strace may not trace here: {done.stderr.decode().strip()}")
    calls = trace.read_text()

    assert done.returncode == 0
    assert calls.count("execve(") == 1
    assert not any(word in calls for word in ("fork(", "clone(", "clone3("))
    assert f"kill({sleeper.pid}, SIGURG" in calls
    assert sleeper.stdout is not None
    assert sleeper.stdout.readline() == b"woken\n"


@pytest.mark.parametrize(
    "content",
    ["", "\n", "rubbish", "-1", "0", "1 2", "99999999999999999999", "4194305", "$(touch pwned)", "\0\0", "x" * 5000],
)
def test_a_process_id_file_with_rubbish(slurmd: Slurmd, content: str) -> None:
    """Nothing is evaluated and nobody is signalled: -1 would be everybody."""
    slurmd.run_dir.mkdir()
    (slurmd.run_dir / "collector.pid").write_text(content)
    done = slurmd.run(PROLOG, JOB, before=f"cd {slurmd.root}")

    assert done.status == 0
    assert len(slurmd.tickets) == 1
    assert not (slurmd.root / "pwned").exists()


@pytest.mark.parametrize("name", ["innocent", "carbon-collecto"])
def test_the_process_id_of_an_innocent(slurmd: Slurmd, name: str) -> None:
    """A reused process id takes no harm: another name is not signalled, and SIGURG is ignored by default."""
    code = f"import time; open('/proc/self/comm', 'w').write({name!r}); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-ISc", code], stdout=subprocess.PIPE) as innocent:
        assert innocent.stdout is not None
        innocent.stdout.readline()
        slurmd.run_dir.mkdir()
        (slurmd.run_dir / "collector.pid").write_text(f"{innocent.pid}\n")
        done = slurmd.run(PROLOG, JOB)
        time.sleep(0.05)
        alive = innocent.poll() is None
        innocent.kill()

    assert (done.status, alive) == (0, True)


def test_a_dead_process_id(slurmd: Slurmd) -> None:
    """A collector that crashed left its number behind."""
    with subprocess.Popen(["/bin/true"]) as dead:
        dead.wait()
    slurmd.run_dir.mkdir()
    (slurmd.run_dir / "collector.pid").write_text(f"{dead.pid}\n")
    done = slurmd.run(PROLOG, JOB)

    assert (done.status, len(slurmd.tickets)) == (0, 1)


def test_a_hung_collector_holds_nobody_up(slurmd: Slurmd, sleeper: subprocess.Popen[bytes]) -> None:
    """Stopped, or stuck in a dead driver: the signal is left with it, the script goes."""
    slurmd.run_dir.mkdir()
    (slurmd.run_dir / "collector.pid").write_text(f"{sleeper.pid}\n")
    sleeper.send_signal(signal.SIGSTOP)
    done = slurmd.run(PROLOG, JOB)
    sleeper.send_signal(signal.SIGCONT)

    assert done.status == 0
    assert done.took_s < BOUND_S
    assert len(slurmd.tickets) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[collector]\nrun_dir = {root}/here\n", "here"),
        ("[collector]\nrun_dir={root}/here", "here"),
        ("[collector]\nrun_dir:{root}/here ; a comment\n", "here"),
        ("[collector]\n  # run_dir = /nowhere\nrun_dir =\t{root}/here # a comment\n", "here"),
        ("[collector]\nrun_dir = {root}/%n/here\n", "n1/here"),
        ("[collector]\nrun_dir = {root}/with space\n", "with space"),
        ("[collector]\nrun_dir = {root}/$(touch pwned)\n", "$(touch pwned)"),
    ],
)
def test_the_run_directory_is_where_the_collector_looks(slurmd: Slurmd, text: str, expected: str) -> None:
    """The script reads the setting as the collector does; it evaluates nothing."""
    from carbon_collector import settings

    slurmd.conf.write_text(text.format(root=slurmd.root))
    done = slurmd.run(PROLOG, JOB, before=f"cd {slurmd.root}")
    theirs = settings.load(str(slurmd.conf), "n1").text("collector", "run_dir")

    assert (done.status, done.said) == (0, "")
    assert theirs == f"{slurmd.root}/{expected}"
    assert len(list((slurmd.root / expected / "tickets").iterdir())) == 1
    assert not (slurmd.root / "pwned").exists()


@pytest.mark.parametrize("text", ["[collector]\nrun_dir =\n", "[collector]\nrun_dir = here\n"])
def test_a_run_directory_that_is_no_path_is_the_default(slurmd: Slurmd, text: str) -> None:
    """Neither `/tickets` nor a folder wherever slurmd happens to be."""
    slurmd.conf.write_text(text)
    place = slurmd.root / "default"
    place.mkdir()
    before = f"PATH=/bin\nmount -t tmpfs none /run && mkdir /run/carbon-acct && mount --bind {place} /run/carbon-acct || exit 9\ncd {slurmd.root}"
    done = slurmd.run(PROLOG, JOB, before=before, private=True)

    assert done.status == 0
    assert len(list((place / "tickets").iterdir())) == 1
    assert not (slurmd.root / "here").exists()


@pytest.mark.parametrize("conf", ["missing", "folder", "binary", "huge"])
def test_a_strange_configuration_file(slurmd: Slurmd, conf: str) -> None:
    """Whatever it is, the script ends with 0, soon."""
    slurmd.conf.unlink()
    if conf == "folder":
        slurmd.conf.mkdir()
    elif conf == "binary":
        slurmd.conf.write_bytes(b"run_dir = " + str(slurmd.run_dir).encode() + b"\n\xff\x00\xfe\n")
    elif conf == "huge":
        slurmd.conf.write_text("# a comment\n" * 2000 + f"run_dir = {slurmd.run_dir}")
    before = "PATH=/bin\nmount -t tmpfs none /run || exit 9\nunset PATH"
    done = slurmd.run(PROLOG, JOB, before=before, private=True)

    assert done.status == 0
    assert done.took_s < BOUND_S


def place(collector: Path) -> str:
    """Shell code that installs a collector under /opt of one's own mounts, in a machine without systemd."""
    bin_dir = "/opt/carbon-acct/bin"
    hide = "[ ! -d /run/systemd ] || mount -t tmpfs none /run/systemd"
    return f"PATH=/bin\nmount -t tmpfs none /opt && mkdir -p {bin_dir} && cp -p {collector} {bin_dir}/carbon-collector || exit 9\n{hide}\nunset PATH"


def settle(slurmd: Slurmd, root: Path) -> None:
    """Settings of a collector that reads nothing of this host."""
    folders = {"run_dir": slurmd.run_dir, "spool_dir": root / "spool", "state_dir": root / "state"}
    roots = dict.fromkeys(("sysfs", "procfs", "cgroupfs"), root / "empty")
    lines = [f"{key} = {value}" for key, value in {**folders, **roots}.items()]
    slurmd.conf.write_text(
        "\n".join(["[collector]", "linger = forever", "interval = 0.2", "aggregators = http://127.0.0.1:1", *lines, ""])
    )


def test_it_starts_a_collector_that_outlives_the_script(slurmd: Slurmd, zipped_collector: Path) -> None:
    """Slurmd reads the script's output to its end and then kills its process group: neither waits for, nor ends,
    the collector; the ticket is taken in, and the next script finds the collector.
    """
    settle(slurmd, slurmd.root)
    done = slurmd.run(PROLOG, JOB, before=place(zipped_collector), private=True)
    pid_file = slurmd.run_dir / "collector.pid"
    deadline = time.monotonic() + PATIENCE_S
    try:
        while slurmd.tickets or not pid_file.exists():
            assert time.monotonic() < deadline, "no collector took the ticket in"
            time.sleep(0.02)
        pid = int(pid_file.read_text())
        environ = dict(e.split(b"=", 1) for e in (Path(f"/proc/{pid}/environ")).read_bytes().split(b"\0") if e)
        started = (Path(f"/proc/{pid}/comm")).read_text()
        slurmd.run(EPILOG, JOB)
        while slurmd.tickets:
            assert time.monotonic() < deadline, "the epilog did not wake it"
            time.sleep(0.02)
        same = int(pid_file.read_text()) == pid
    finally:
        if pid_file.exists() and pid_file.read_text().strip():
            os.kill(int(pid_file.read_text()), signal.SIGTERM)

    assert (done.status, done.said) == (0, "")
    assert done.took_s < BOUND_S
    assert started == "carbon-collecto\n"
    assert environ == {b"PATH": b"/usr/bin:/bin:/usr/sbin:/sbin", b"CARBON_ACCT_CONF": str(slurmd.conf).encode()}
    assert same


@pytest.mark.parametrize(
    "program",
    ["#!/no/such/python -IS\n", "#!/bin/sh\nexit 1\n", "#!/bin/sh\necho $$ >{pid}\nexec sleep 60\n", "", None],
)
def test_a_collector_that_cannot_start_harms_nobody(slurmd: Slurmd, program: str | None) -> None:
    """No interpreter, a crash, one that hangs at once, an empty file, none at all: 0, silence, at once, and a ticket."""
    path, pid = slurmd.root / "program", slurmd.root / "pid"
    path.write_text((program or "").format(pid=pid))
    path.chmod(0o755 if program is not None else 0o644)
    done = slurmd.run(PROLOG, JOB, before=place(path), private=True)
    if "sleep" in (program or ""):
        deadline = time.monotonic() + PATIENCE_S
        while not (pid.exists() and pid.read_text().endswith("\n")):
            assert time.monotonic() < deadline, "it was not started"
            time.sleep(0.01)
        os.kill(int(pid.read_text()), signal.SIGKILL)

    assert (done.status, done.said) == (0, "")
    assert done.took_s < BOUND_S
    assert len(slurmd.tickets) == 1


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_a_collectors_name_on_a_users_process_is_not_believed(slurmd: Slurmd, zipped_collector: Path) -> None:
    """A user's process with the name and the number of a collector that is gone: it is not woken, and one is started."""
    settle(slurmd, slurmd.root)
    slurmd.run_dir.mkdir()
    code = (
        "import os, signal; open('/proc/self/comm', 'w').write('carbon-collecto'); os.setuid(65534)\n"
        "signal.signal(signal.SIGURG, lambda *_: print('woken', flush=True)); print('ready', flush=True)\n"
        "while True: signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-ISc", code], stdout=subprocess.PIPE) as user:
        assert user.stdout is not None
        user.stdout.readline()
        pid_file = slurmd.run_dir / "collector.pid"
        pid_file.write_text(f"{user.pid}\n")
        done = slurmd.run(PROLOG, JOB, before=place(zipped_collector), private=True)
        deadline = time.monotonic() + 3 * PATIENCE_S
        while slurmd.tickets or pid_file.read_text() in ("", f"{user.pid}\n"):
            assert time.monotonic() < deadline, "no collector took the ticket in"
            time.sleep(0.02)
        os.kill(int(pid_file.read_text()), signal.SIGTERM)
        user.kill()
        heard = user.stdout.read()

    assert (done.status, heard) == (0, b"")


@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.6", "3.8", "none"])
def test_a_node_without_a_python_that_will_do_is_not_silent(
    slurmd: Slurmd, zipped_collector: Path, python: str
) -> None:
    """One line in syslog, with what to do, and no second one until a collector has run; the prolog does not wait for it."""
    found = sorted((Path.home() / ".pyenv/versions").glob(f"{python}.*/bin/python{python}"))
    if python != "none" and not found:
        pytest.skip(f"no Python {python} here")
    settle(slurmd, slurmd.root)
    body = zipped_collector.read_bytes().partition(b"\n")[2]
    program = slurmd.root / "old"
    interpreter = str(found[0]) if found else "/no/such/python3"
    program.write_bytes(f"#!{interpreter} -IS\n".encode() + body)
    program.chmod(0o755)
    logged = slurmd.root / "syslog"
    logger = slurmd.root / "logger"
    logger.write_text(f'#!/bin/sh\necho "$*" >>{logged}\n')
    logger.chmod(0o755)
    before = f"{place(program)}\nPATH=/bin\nmount --bind {logger} /usr/bin/logger || exit 9\nunset PATH"
    outcomes = [slurmd.run(PROLOG, JOB, before=before, private=True) for _ in range(2)]
    deadline = time.monotonic() + 4 * PATIENCE_S
    while not logged.exists():
        assert time.monotonic() < deadline, "nothing was logged"
        time.sleep(0.05)
    time.sleep(1)

    assert [(one.status, one.said) for one in outcomes] == [(0, ""), (0, "")]
    assert max(one.took_s for one in outcomes) < BOUND_S
    [line] = logged.read_text().splitlines()
    assert "no collector starts on this node" in line
    assert ("needs Python 3.9 or later" in line) == (python != "none")
