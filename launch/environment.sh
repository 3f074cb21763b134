# Sourced by demo.sh and test.sh: makes .venv in the checkout and installs the project with the extras in $EXTRAS ("core" = none).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        command -v "$PYTHON" || { echo "PYTHON=$PYTHON is not an interpreter on this machine" >&2; return 1; }
        return
    fi
    local name
    for name in python3.11 python3.12 python3.13 python3; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    echo "vglamm_jax needs Python 3.11 or newer; install it or name it: PYTHON=/path/to/python3 bash launch/$(basename "$0")" >&2
    return 1
}

python=$(find_python)
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
venv=.venv
[ -z "${PYTHON:-}" ] || venv=.venv-$version
if [ ! -x "$venv/bin/python" ]; then
    echo "Making a virtual environment in $venv (Python $version)"
    "$python" -m venv "$venv"
fi

# Install again only when the requirements have changed since the last time.
stamp="$venv/installed-${EXTRAS//,/-}"
if [ ! -f "$stamp" ] || [ setup.py -nt "$stamp" ]; then
    echo "Installing vglamm_jax ($EXTRAS) (a few minutes the first time)"
    "$venv/bin/python" -m pip install --quiet --upgrade pip
    package=.
    [ "$EXTRAS" = core ] || package=".[$EXTRAS]"
    "$venv/bin/python" -m pip install --quiet --no-compile -e "$package"
    # By itself pip compiles all of it, tests too, on one core, which takes as long as the rest.
    "$venv/bin/python" -m compileall -q -j 0 -x '/tests?/|/transformers/models/' "$venv/lib" vglamm_jax || true
    touch "$stamp"
fi
export PATH="$PWD/$venv/bin:$PATH"
export JAX_PLATFORMS="${JAX_PLATFORMS:-cpu}"
