# SPDX-License-Identifier: MIT
"""Defines every setting once. Validation, defaults, the commented example and the man page are made from it.

The file is `/etc/carbon-acct/carbon-acct.conf` (INI); the environment's `CARBON_ACCT_CONF` names another. Every host
reads the same file and uses the settings that concern it.
"""

from __future__ import annotations

import os

from .errors import SettingsError
from .lean.typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_PATH = "/etc/carbon-acct/carbon-acct.conf"
FOREVER = float("inf")


class Setting(NamedTuple):
    """One setting. `kind` is text, path, urls, words, seconds, seconds_or_off, number or choice."""

    section: str
    key: str
    kind: str
    default: str
    doc: str
    choices: tuple[str, ...] = ()


SETTINGS: tuple[Setting, ...] = (
    Setting("site", "name", "text", "", "Name of the site, as reports print it. Empty: the cluster's name."),
    Setting("site", "cluster", "text", "", "Name of the cluster. Empty: Slurm's own ClusterName."),
    Setting(
        "site",
        "zone",
        "text",
        "WORLD",
        "Zone of the electricity grid that feeds the site, e.g. DE, FR, US-CA. WORLD is the world's average.",
    ),
    Setting(
        "site",
        "pue",
        "text",
        "1.0",
        "Power usage effectiveness (ISO/IEC 30134-2): facility energy over IT energy, at least 1. With dates: "
        "1.35 2026-01-01:1.30; or a CSV file of start,value.",
    ),
    Setting(
        "site",
        "price",
        "text",
        "",
        "Price of a kWh of facility energy, like [site] pue: 0.25 2027-01-01:0.31. Empty: reports show no money.",
    ),
    Setting("site", "currency", "text", "EUR", "Currency of [site] price, as reports print it."),
    Setting("site", "timezone", "text", "UTC", "Time zone of the site's days and months, e.g. Europe/Berlin."),
    Setting(
        "site",
        "hardware",
        "path",
        "",
        "CSV file of node types: embodied emissions, and overhead where no meter sees the whole node (docs/methodology.md).",
    ),
    Setting(
        "site",
        "accelerators",
        "path",
        "",
        "CSV file of the site's GPUs, columns name,watts and others of accelerators.csv: its rows come before the shipped ones.",
    ),
    Setting(
        "collector",
        "aggregators",
        "urls",
        "",
        "URLs of the aggregators. They are tried in turn. Empty: http:// and [aggregator] listen.",
    ),
    Setting(
        "collector",
        "aggregator_user",
        "text",
        "",
        "Users that the aggregators run as, by names or ids: only their answers have a node forget rows. Empty: any"
        " account of the system (uid below 1000).",
    ),
    Setting("collector", "interval", "seconds", "10 s", "Time between two readings of the meters."),
    Setting(
        "collector",
        "linger",
        "seconds",
        "60 s",
        "How long the collector stays when there is neither a job nor an unshipped row; or `forever`.",
    ),
    Setting(
        "collector",
        "live_refresh",
        "seconds_or_off",
        "1 s",
        "Least time between two readings that jobs ask for through the FIFO beside their live file; or `off`.",
    ),
    Setting(
        "collector",
        "power_minutes",
        "choice",
        "no",
        "Whether nodes also tell the energy of each job by minute: carbon-acct show then draws it, for those who may see the"
        " job. It shows more of what a job did than quarters of an hour do.",
        ("no", "yes"),
    ),
    Setting(
        "collector", "run_dir", "path", "/run/carbon-acct", "Tickets of prolog and epilog, process id, live energy."
    ),
    Setting(
        "collector", "spool_dir", "path", "/var/spool/carbon-acct", "Sealed segments on their way to an aggregator."
    ),
    Setting(
        "collector",
        "state_dir",
        "path",
        "/var/lib/carbon-acct",
        "Last readings, open ledgers, idle power. On a node it is root's alone.",
    ),
    Setting(
        "collector",
        "spool_limit",
        "number",
        "256",
        "Most MiB that the spool may hold. When it is full the oldest slots are made coarser, then dropped.",
    ),
    Setting("collector", "sysfs", "path", "/sys", "Root of sysfs."),
    Setting("collector", "procfs", "path", "/proc", "Root of procfs."),
    Setting("collector", "cgroupfs", "path", "/sys/fs/cgroup", "Root of the cgroup hierarchies."),
    Setting("collector", "nvml_library", "path", "", "Path of libnvidia-ml.so.1. Empty: where the loader finds it."),
    Setting(
        "collector",
        "idle_watts",
        "words",
        "",
        "Idle power of each CPU socket in watts, one figure for all or one each. Empty: learned.",
    ),
    Setting(
        "collector",
        "meters",
        "words",
        "powercap, nvml, amd, hwmon, cray, psu, dcmi, redfish, model",
        "Meters that may be used, in order of preference.",
        ("powercap", "nvml", "amd", "hwmon", "cray", "psu", "dcmi", "redfish", "model"),
    ),
    Setting("collector", "ipmi_device", "path", "/dev/ipmi0", "Device of the BMC, for the meter of the whole node."),
    Setting(
        "collector",
        "redfish",
        "urls",
        "",
        "URL of the node's BMC, for the same over HTTPS, e.g. https://bmc-n1; where it serves several chassis, that of the "
        "node's: https://bmc/redfish/v1/Chassis/1. %n is the node's name. Empty: not asked.",
    ),
    Setting(
        "collector",
        "redfish_credentials",
        "path",
        "/etc/carbon-acct/redfish",
        "File with user:password of the BMC. It must be root's alone (mode 600).",
    ),
    Setting(
        "collector",
        "redfish_ca",
        "path",
        "",
        "File of certificates (PEM) that the BMC must have or be signed by. Empty: the system's.",
    ),
    Setting("aggregator", "listen", "text", "127.0.0.1:6829", "Address and port to listen on."),
    Setting(
        "aggregator",
        "proxies",
        "words",
        "",
        "Addresses of TLS proxies before the aggregator, whose X-Forwarded-For is believed. Empty: nobody's is.",
    ),
    Setting(
        "aggregator",
        "database",
        "text",
        "",
        "SQLAlchemy URL of the database: mariadb+pymysql://..., postgresql+psycopg://... Several, with blanks between, are"
        " the nodes of a Galera cluster, tried in turn. Empty: the SQLite file carbon-acct.db under"
        " /var/lib/carbon-aggregator, or under [collector] state_dir where that is set.",
    ),
    Setting(
        "aggregator",
        "keep_delivered",
        "seconds",
        "90 d",
        "How long the rows that nodes delivered are kept. Rows of earlier slots are refused.",
    ),
    Setting(
        "aggregator",
        "keep_slots",
        "seconds",
        "400 d",
        "How long jobs are kept slot by slot (15 minutes), so that they can be recalculated. Later they are kept by days.",
    ),
    Setting(
        "aggregator",
        "keep_jobs",
        "seconds",
        "forever",
        "How long jobs are kept. The sums of their accounts stay for ever.",
    ),
    Setting(
        "aggregator",
        "estimate",
        "choice",
        "yes",
        "Whether energy that nobody measured is estimated: from the job's other nodes, its partition, or the hardware. "
        "Estimates are kept apart from what was measured, and are marked.",
        ("yes", "no"),
    ),
    Setting(
        "aggregator",
        "log_format",
        "choice",
        "text",
        "Format of the log on standard error, one line for each event: text for people, json for machines.",
        ("text", "json"),
    ),
    Setting(
        "slurm",
        "source",
        "choice",
        "auto",
        "Source of Slurm's records. auto: sacct, until a pyslurm reports every run. pyslurm (in a process of its own): the"
        " newest runs only, no AllocTRES, and before 25.11 no heterogeneous JobIDs.",
        ("auto", "pyslurm", "sacct"),
    ),
    Setting("slurm", "poll", "seconds", "60 s", "Time between two queries of Slurm's accounting."),
    Setting("slurm", "munge_socket", "path", "", "Socket of munged. Empty: munge's own default."),
    Setting(
        "grid",
        "zones",
        "words",
        "",
        "Zones of clusters and partitions that are not fed by [site] zone, e.g. hpc:DE hpc/gpu:FR.",
    ),
    Setting(
        "grid",
        "factors",
        "path",
        "",
        "CSV file of the site's own yearly factors, columns as `carbon-mgr import-electricitymaps` writes them: its rows come"
        " before the shipped ones.",
    ),
    Setting(
        "grid",
        "providers",
        "words",
        "",
        "Providers of intensities, in order of preference; ZONE=provider for one zone. Empty: the yearly factor of the zone.",
    ),
    Setting(
        "grid",
        "addresses",
        "words",
        "",
        "Addresses to use instead of the providers' own, e.g. of a mirror: uk=https://mirror.example/uk.",
    ),
    Setting("grid", "poll", "seconds", "15 m", "Time between two queries of a provider."),
    Setting("grid", "electricitymaps_token", "path", "", "File with the token of Electricity Maps."),
    Setting("grid", "entsoe_token", "path", "", "File with the security token of ENTSO-E."),
    Setting("grid", "eia_token", "path", "", "File with the API key of the US Energy Information Administration."),
    Setting("grid", "openelectricity_token", "path", "", "File with the API key of OpenElectricity (Australia)."),
    Setting(
        "grid",
        "market",
        "text",
        "",
        "Market-based factor of the site's contracts in g/kWh (GHG Protocol, scope 2), like [site] pue. Empty: none stated.",
    ),
    Setting("grid", "market_source", "text", "contract", "Source of the market-based factor, as reports print it."),
    Setting(
        "grid",
        "upstream",
        "text",
        "",
        "Upstream emissions of fuels in g/kWh (scope 3, category 3), like [site] pue. Empty: none stated.",
    ),
    Setting(
        "grid",
        "td_losses",
        "text",
        "",
        "Share of the generation lost in transmission and distribution, 0.06, like [site] pue. Empty: none stated.",
    ),
    Setting(
        "waste",
        "gpu_idle_watts",
        "words",
        "75",
        "Mean power of a GPU in a slot, in watts, up to which it counts as idle; type:watts for a type that AllocTRES"
        " names, e.g. 75 t4:15. It holds for what nodes deliver from then on.",
    ),
    Setting(
        "waste",
        "cpu_used_percent",
        "number",
        "20",
        "Used share of the CPU time that a job without GPUs holds in a slot, in percent, below which the rest counts as"
        " unused. It holds for what nodes deliver from then on.",
    ),
    Setting(
        "waste",
        "advice_percent",
        "number",
        "1",
        "Share of a user's energy, in percent, below which a saving is no advice.",
    ),
    Setting(
        "reports",
        "spread",
        "choice",
        "no",
        "Whether reports also spread the site's idle and system carbon over users and accounts: energy, by their energy.",
        ("no", "energy"),
    ),
    Setting("reports", "output_dir", "path", "/var/lib/carbon-reports", "Folder in which carbon-report writes."),
    Setting(
        "reports",
        "readers",
        "text",
        "",
        "Group that may read the reports: files are 0640, folders 0750. Empty: the group of the user that writes them.",
    ),
    Setting(
        "reports",
        "names",
        "choice",
        "users",
        "Whom reports name: users and accounts, accounts only, or nobody.",
        ("users", "accounts", "none"),
    ),
    Setting(
        "reports",
        "target",
        "text",
        "",
        "Carbon of a month that the site wants to stay below, jobs, idle and system, in kg CO2e. Empty: no line is drawn.",
    ),
    Setting(
        "reports",
        "contact",
        "text",
        "",
        "Whom readers ask, as reports and carbon-web print it: a name, an address of mail.",
    ),
    Setting(
        "reports",
        "logo",
        "path",
        "",
        "Picture at the head of reports and of carbon-web: a PNG, JPEG or SVG file of at most 100 kB.",
    ),
    Setting(
        "reports",
        "templates",
        "path",
        "",
        "Folder of the site's own Jinja templates and style.css, for reports and carbon-web. A file with the name of a shipped"
        " one takes its place.",
    ),
    Setting(
        "reports",
        "url",
        "text",
        "",
        "Address at which the site serves output_dir: mail links to the user's page there.",
    ),
    Setting("reports", "smtp", "text", "", "Mail server, host or host:port. Empty: carbon-report send sends nothing."),
    Setting(
        "reports",
        "smtp_tls",
        "choice",
        "starttls",
        "How the connection to the mail server is encrypted. Without a port these are 587, 465 and 25.",
        ("starttls", "tls", "no"),
    ),
    Setting("reports", "smtp_ca", "path", "", "File of CA certificates (PEM) to trust instead of the system's."),
    Setting("reports", "smtp_user", "text", "", "User at the mail server. Empty: none is needed."),
    Setting("reports", "smtp_secret", "path", "", "File with the secret of smtp_user: one word, mode 0600."),
    Setting("reports", "mail_from", "text", "", "Address that mail comes from."),
    Setting(
        "reports",
        "addresses",
        "path",
        "",
        "File of users and their addresses, a blank between, a line each. Empty: USER@MailDomain (slurm.conf) for the "
        "users that sacctmgr lists.",
    ),
    Setting("reports", "opt_out", "path", "", "File of users that want no mail, a line each."),
    Setting(
        "web",
        "proxy_user",
        "text",
        "",
        "User that the site's web proxy runs as: its processes alone may say who asks. Empty: carbon-web does not start.",
    ),
    Setting(
        "web",
        "user_header",
        "text",
        "X-Remote-User",
        "Header in which the proxy names the user that it signed in. The proxy must remove it from what browsers send.",
    ),
    Setting(
        "web",
        "socket",
        "path",
        "/run/carbon-web/web.sock",
        "Unix socket at which carbon-web listens where systemd does not hand it one.",
    ),
    Setting(
        "web",
        "url",
        "text",
        "",
        "Address at which browsers find carbon-web, for the links of carbon-acct --web, which sign a user in once. "
        "Empty: there are no such links.",
    ),
)

BY_NAME = {(s.section, s.key): s for s in SETTINGS}
SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


class Settings:
    """The checked values of all settings, and the origin of each."""

    __slots__ = ("_node", "_origins", "_values", "warnings")

    def __init__(
        self, values: dict[tuple[str, str], str], origins: dict[tuple[str, str], str], warnings: list[str], node: str
    ) -> None:
        self._values = values
        self._origins = origins
        self._node = node
        self.warnings = warnings

    def text(self, section: str, key: str) -> str:
        """Return a value as text. In paths and URLs `%n` becomes the Slurm node name, as in slurm.conf."""
        value = self._values[(section, key)]
        return value.replace("%n", self._node) if BY_NAME[(section, key)].kind in ("path", "urls") else value

    def number(self, section: str, key: str) -> float:
        """Return a value as a number, for a time in seconds. `forever` and `off` are infinity."""
        value = self._values[(section, key)]
        kind = BY_NAME[(section, key)].kind
        if kind == "seconds_or_off" and value.lower() == "off":
            return FOREVER
        return parse_seconds(value) if kind in ("seconds", "seconds_or_off") else float(value)

    def words(self, section: str, key: str) -> list[str]:
        """Return a value as a list. Its items are separated by commas or blanks."""
        return self._values[(section, key)].replace(",", " ").split()

    def origin(self, section: str, key: str) -> str:
        """Return the origin of a value: `default`, or the file that set it."""
        return self._origins.get((section, key), "default")

    def replaced(self, values: dict[tuple[str, str], str], origin: str) -> Settings:
        """Return these settings with some values from `origin`, e.g. a program's own variables. The values are not
        checked.
        """
        origins = dict.fromkeys(values, origin)
        return Settings({**self._values, **values}, {**self._origins, **origins}, self.warnings, self._node)

    def aggregators(self) -> list[str]:
        """Return the URLs of the aggregators: [collector] aggregators, else the address at which this host's own would
        listen.
        """
        return self.words("collector", "aggregators") or [f"http://{self.text('aggregator', 'listen')}"]


def load(path: str = "", node: str = "", strict: bool = True) -> Settings:
    """Return the settings of the configuration file, checked. Raises SettingsError.

    Without `path` the file is the one that `CARBON_ACCT_CONF` names, else the default one, which need not exist. `node`
    is the Slurm node name (else the host name up to its first dot). On a node `strict` is False, because collecting
    must go on: a mistake becomes a line in `warnings`, and the default applies.
    """
    chosen = path or os.environ.get("CARBON_ACCT_CONF", "")
    name = chosen or DEFAULT_PATH
    values = {(s.section, s.key): s.default for s in SETTINGS}
    origins: dict[tuple[str, str], str] = {}
    warnings: list[str] = []

    def complain(message: str) -> None:
        if strict:
            raise SettingsError(message)
        warnings.append(message)

    for (section, key), value in _read(name, bool(chosen), complain).items():
        setting = BY_NAME.get((section, key))
        if setting is None:
            complain(f"{name}: unknown setting {key!r} in [{section}]{_nearest(section, key)}")
            continue
        problem = _check(setting, value)
        if problem:
            complain(f"{name}: [{section}] {key} = {value}: {problem}")
            continue
        values[(section, key)] = value
        origins[(section, key)] = name
    return Settings(values, origins, warnings, node or os.uname().nodename.partition(".")[0])


def parse_seconds(text: str) -> float:
    """Return the seconds of a time: `10`, `10 s`, `1.5m`, `2 h`, `forever`. Raises ValueError."""
    if text.strip().lower() == "forever":
        return FOREVER
    digits = text.strip()
    unit = digits.lstrip("0123456789.").strip()
    return float(digits[: len(digits) - len(unit)] if unit else digits) * SECONDS[unit.lower()]


def example() -> str:
    """Return the commented configuration file with every setting at its default."""
    lines = ["# carbon-acct.conf: every setting at its default. `carbon-mgr config` shows what is in force.", ""]
    section = ""
    for s in SETTINGS:
        if s.section != section:
            section = s.section
            lines += [f"[{section}]", ""]
        lines += [f"# {s.doc}"]
        lines += [f"# One of: {', '.join(s.choices)}."] if s.choices else []
        lines += [f"#{s.key} = {s.default}".rstrip(), ""]
    return "\n".join(lines)


def _read(name: str, must_exist: bool, complain: Callable[[str], None]) -> dict[tuple[str, str], str]:
    try:
        with open(name, encoding="utf-8") as file:
            return _parse(name, file.read(), complain)
    except FileNotFoundError:
        if must_exist:
            complain(f"{name}: no such file; CARBON_ACCT_CONF or the command line names it")
    except (OSError, UnicodeDecodeError) as err:
        complain(f"{name}: cannot be read: {err}")
    return {}


def _parse(name: str, text: str, complain: Callable[[str], None]) -> dict[tuple[str, str], str]:
    """Return the values by section and key of INI text as the prolog reads it.

    It knows `[section]`, `key = value` or `key: value`, and `#` and `;` for comments, one line each. configparser would
    cost the node a quarter of a megabyte.
    """
    found: dict[tuple[str, str], str] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        here = f"{name}:{number}"
        content = _without_comment(line)
        if content.startswith("[") and content.endswith("]"):
            section = content[1:-1].strip()
        elif content:
            cut = min((at for at in (content.find("="), content.find(":")) if at > 0), default=-1)
            key = content[:cut].strip().lower()
            if cut < 0 or not section:
                complain(f"{here}: {content!r} is neither a [section] nor a `key = value` in one")
            elif (section, key) in found:
                complain(f"{here}: {key!r} is set twice in [{section}]")
            else:
                found[(section, key)] = content[cut + 1 :].strip()
    return found


def _without_comment(line: str) -> str:
    """Return a line without its comment. A comment begins the line or follows a blank."""
    for at, char in enumerate(line):
        if char in "#;" and (at == 0 or line[at - 1] in " \t"):
            return line[:at].strip()
    return line.strip()


def _check(setting: Setting, value: str) -> str:
    """Return what is wrong with a value, or an empty text."""
    if setting.kind in ("seconds", "seconds_or_off"):
        if setting.kind == "seconds_or_off" and value.lower() == "off":
            return ""
        try:
            good = parse_seconds(value) > 0
        except (ValueError, KeyError):
            good = False
        other = "off" if setting.kind == "seconds_or_off" else "forever"
        return "" if good else f"not a time; it looks like 10 s, 5 m or {other}"
    if setting.kind == "number":
        try:
            number = float(value)
        except ValueError:
            return "not a number"
        if not 0 <= number < FOREVER:
            return "not a number that can be used"
    if setting.choices:
        words = value.replace(",", " ").split() if setting.kind == "words" else [value]
        wrong = [word for word in words if word not in setting.choices]
        return f"{wrong[0]!r} is not one of {', '.join(setting.choices)}" if wrong else ""
    if setting.kind == "path" and not value.startswith("/") and (value or setting.default):
        return "not a path from the root, starting with /"
    if setting.kind == "urls":
        wrong = [word for word in value.replace(",", " ").split() if not word.startswith(("http://", "https://"))]
        return f"{wrong[0]!r} is not a URL; it looks like http://host:6829" if wrong else ""
    return ""


def _nearest(section: str, key: str) -> str:
    import difflib  # only when something is wrong

    names = [f"{s.key}" for s in SETTINGS if s.section == section] or [s.key for s in SETTINGS]
    close = difflib.get_close_matches(key, names, 1, 0.6)
    others = [s.section for s in SETTINGS if s.key == (close[0] if close else key) and s.section != section]
    if close:
        known = {s.section for s in SETTINGS}
        return f"; did you mean {close[0]!r}{f' in [{others[0]}]' if section not in known and others else ''}?"
    return f"; it belongs in [{others[0]}]" if others else ""
