#!/bin/sh
# Has the server's package ($PACKAGE; empty: what is installed) judge the configuration in the folder $TRIAL. The last line says
# what is wrong.
cd "$TRIAL" || exit 1
root=
if [ "$PACKAGE" ]; then
    root=$PWD/root
    case $PACKAGE in
    *.deb) dpkg-deb --extract "$PACKAGE" root ;;
    *.rpm) mkdir root && cd root && rpm2cpio "$PACKAGE" | cpio --quiet -idm ;;
    esac || exit 1
fi
python=$(readlink "$root/usr/lib/carbon-acct/server/bin/python3")
if [ ! -x "$python" ]; then
    echo "${PACKAGE:-carbon-acct-server} is built for $python, which is not installed; take the package for this host's Python, or install that one"
    exit 1
fi
export PYTHONPATH PYTHONDONTWRITEBYTECODE=1
PYTHONPATH=$(echo "$root"/usr/lib/carbon-acct/server/lib/python3*/site-packages)
exec "$python" -S -c '
import sys

from carbon_acct.db import connect
from carbon_acct.db.engine import Database, url_of
from carbon_acct.factors.slot_factor import load_terms
from carbon_collector import settings
from carbon_collector.errors import CarbonError
from sqlalchemy.exc import SQLAlchemyError

try:
    config = settings.load("carbon-acct.conf")
    if config.origin("site", "zone") == "default":
        sys.exit("[site] zone is not set: carbon_acct_config needs site: {zone: ...}; carbon-mgr zones lists them")
    load_terms(config)
    url = url_of(config)
    # A file is made when it is opened: it is not.
    if not connect.is_sqlite(connect.parse_urls(url)[0]):
        database = Database(url)
        try:
            database.engine.connect().close()
        except SQLAlchemyError as err:
            text = str(getattr(err, "orig", None) or err).splitlines()[0]
            # Without a password the server asks for the user of the aggregator, who may not be there yet.
            if "denied" not in text or database.engine.url.password:
                sys.exit(f"[aggregator] database: {database.shown}: {text}")
except CarbonError as err:
    sys.exit(str(err).splitlines()[0])
'
