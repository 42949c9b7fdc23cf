#!/bin/sh
# Makes the virtual environment: picks a fitting Python, installs the lock file with its hashes, then the project.
set -eu
venv=$1
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
echo "setup: $("$python" --version) from $(command -v "$python"), into $venv (about 30 s the first time)"
# An environment of the same Python is brought up to date in place, so that what runs in it goes on.
if ! "$venv/bin/python" -c "import sys; sys.exit('$("$python" -c 'import sys; print(sys.version_info[:3])')' != str(sys.version_info[:3]))" 2>/dev/null; then
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
echo "setup: ready"
