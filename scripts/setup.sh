#!/bin/sh
# usage: setup.sh VENV run|dev
# Makes the virtual environment VENV, or brings it up to date. `run` installs what `make run` needs, and the project;
# `dev` adds what tests and checks need. Every lock file is complete, so nothing is resolved here: a release that
# appears tomorrow changes nothing (docs/decisions/0009).
set -eu
venv=$1
what=$2
fits='import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] < (3, 15)))'
python=
for candidate in ${PYTHON:-} python3.13 python3.12 python3.11 python3.14 python3 python; do
    if "$candidate" -c "$fits" >/dev/null 2>&1; then python=$candidate; break; fi
done
if [ -z "$python" ]; then
    echo "setup: Python 3.11 to 3.14 is needed and none was found; install one, or name it: make setup PYTHON=/path/to/python3.12" >&2
    exit 1
fi
if ! "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then
    echo "setup: $python has no venv module; install it (Debian: apt install python3-venv)" >&2
    exit 1
fi
# An environment of the same Python is brought up to date in place, so that what runs in it goes on.
version=$("$python" -c 'import sys; print(sys.version_info[:3])')
if ! "$venv/bin/python" -c "import pip, sys; sys.exit('$version' != str(sys.version_info[:3]))" 2>/dev/null; then
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi

install() { "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$@"; }

if [ "$what" = run ]; then
    echo "setup: $("$python" --version) from $(command -v "$python"), into $venv: what runs (about 20 s the first time)"
    install --require-hashes --only-binary :all: -r requirements-build.lock -r requirements-run.lock
    install --no-build-isolation -e .
    "$venv/bin/python" -m compileall -q app workers alembic   # once here, not by each of the processes that start at once
else
    echo "setup: what tests and checks need, into $venv (about 45 s the first time)"
    install --require-hashes --only-binary :all: -r requirements-dev.lock
    # Tests are compiled once here, too. One that cannot be read is told of by `make test`, not by a set-up that fails.
    "$venv/bin/python" -m pytest --collect-only -q >/dev/null 2>&1 || true
fi
echo "setup: ready"
