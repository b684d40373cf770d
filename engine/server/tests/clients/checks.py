"""How a script's checks are run: all of them, so that one run shows everything that does not hold."""

import sys
import traceback


def run(*checks):
    broken = 0
    for check in checks:
        name = check.__name__.replace("_", " ")
        try:
            check()
            print("holds:", name, flush=True)
        except Exception:
            broken += 1
            print("does not hold:", name, flush=True)
            traceback.print_exc(file=sys.stdout)
    sys.exit(f"{broken} of {len(checks)} do not hold" if broken else 0)
