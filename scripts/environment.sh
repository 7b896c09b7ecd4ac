# Sourced by scripts/run and scripts/test: Debian packages, a Python that fits them, a virtual environment from a lock.
# The caller stands in the checkout.

say() { printf '%s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

# Install those of the named Debian packages that are missing; a sentence with the command for who may not.
need_packages() {
    missing=
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    as_root=
    if [ "$(id -u)" != 0 ]; then
        as_root=sudo
        command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; } ||
            fail "Debian packages are missing and you may not install them. Ask your administrator for: apt-get install$missing"
    fi
    say "installing$missing"
    # shellcheck disable=SC2086  # one word each
    $as_root env DEBIAN_FRONTEND=noninteractive sh -c 'apt-get -q update && apt-get -q install -y --no-install-recommends "$@"' \
        apt-get $missing >&2 || fail "apt-get could not install:$missing"
}

# Print the first Python that is new enough and has what pyfuse3 is compiled against: the headers of Debian's python3-dev
# fit only Debian's python3, and another python3 may stand first in PATH.
find_python() {
    for candidate in "${REPOFS_PYTHON:-}" /usr/bin/python3 python3; do
        [ -n "$candidate" ] && "$candidate" -c '
import ensurepip, pathlib, sys, sysconfig
headers = pathlib.Path(sysconfig.get_path("include"), "Python.h")
sys.exit(sys.version_info < (3, 11) or not headers.exists())' 2>/dev/null || continue
        printf '%s\n' "$candidate"
        return
    done
    fail "no Python of version 3.11 or newer with ensurepip and Python.h was found: set REPOFS_PYTHON to one"
}

# Make the environment $1 hold exactly the lock $2 and this checkout; nothing to do when it was made from the same.
fill_venv() {
    stamp="$1/made-from-$2"
    wanted=$(sha256sum "$2" pyproject.toml repofs/*/*.[ch]; pwd)
    [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return
    [ -w . ] && { [ -w "$1" ] || [ ! -e "$1" ]; } ||
        fail "you may not write in $PWD, where Python packages are to be installed: clone it into a directory of your own"
    [ -x "$1/bin/python" ] || "$(find_python)" -m venv "$1" || fail "no virtual environment could be made in $1"
    say "installing Python packages into $1"
    "$1/bin/pip" --disable-pip-version-check install -qq --use-pep517 --require-hashes -r "$2" >&2 &&
        "$1/bin/pip" --disable-pip-version-check install -qq --no-deps --editable . >&2 ||
        fail "pip could not install the packages of $2: the lines above tell why"
    printf '%s\n' "$wanted" >"$stamp"
}
