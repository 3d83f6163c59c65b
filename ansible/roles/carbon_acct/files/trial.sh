#!/bin/sh
# Unpacks the server's package ($2) in a folder ($1) and has it judge the configuration there. The last line says what is wrong.
cd "$1" || exit 1
case $2 in
*.deb) dpkg-deb --extract "$2" root ;;
*.rpm) mkdir root && cd root && rpm2cpio "../$2" | cpio --quiet -idm && cd .. ;;
esac || exit 1
python=$(readlink root/usr/lib/carbon-acct/server/bin/python3)
if [ ! -x "$python" ]; then
    echo "$2 is built for $python, which is not installed; take the package for this host's Python, or install that one"
    exit 1
fi
PYTHONPATH=$(echo "$1"/root/usr/lib/carbon-acct/server/lib/python3*/site-packages) exec "$python" -S - "$1/carbon-acct.conf" <<'END'
import sys

from carbon_acct.site import site_of
from carbon_collector import settings
from carbon_collector.errors import CarbonError
from sqlalchemy.exc import SQLAlchemyError

try:
    config = settings.load(sys.argv[1])
    if not config.text("site", "zone"):
        sys.exit("[site] zone is not set: carbon_acct_config needs site: {zone: ...}; carbon-mgr zones lists them")
    database = site_of(config).database
    if database.engine.dialect.name != "sqlite":
        try:
            database.engine.connect().close()
        except SQLAlchemyError as err:
            text = str(getattr(err, "orig", None) or err).splitlines()[0]
            # Without a password the server asks for the aggregator's user, which may not be there yet.
            if "denied" not in text or database.engine.url.password:
                sys.exit(f"[aggregator] database: {database.shown}: {text}")
except CarbonError as err:
    sys.exit(str(err).splitlines()[0])
END
