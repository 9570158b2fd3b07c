#!/bin/sh
# Installs what policies in C, JavaScript and Python are built with, of the versions that a new project names.
#
#   sdk/toolchain/languages.sh
#
# clang and lld, and Node.js where there is none, from Debian (as root, or with sudo); the rest into $WATTLE_TOOLS/js and
# $WATTLE_TOOLS/python, default target/tools. Does nothing when all is there.
set -eu

checkout=$(cd "$(dirname "$0")/../.." && pwd)
templates=$checkout/sdk/policy-dev/templates
tools=${WATTLE_TOOLS:-${CARGO_TARGET_DIR:-$checkout/target}/tools}

say() { echo "languages: $*"; }
fail() { echo "languages: $*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else fail "\`$*\` needs root; run this as root or install sudo"
    fi
}

debian() { # PACKAGE...
    command -v apt-get >/dev/null || fail "this is no Debian; install by hand: $*"
    say "installing $*"
    { as_root apt-get update -qq && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } \
        >"$tools/languages.log" 2>&1 || fail "apt-get could not install $*; see $tools/languages.log"
}

is_new() { # STAMP FILE...: whether the stamp is missing or made of other files
    stamp=$1; shift
    [ "$(cat "$@" | cksum)" != "$(cat "$stamp" 2>/dev/null)" ]
}

c() {
    ls /usr/lib/llvm-*/bin/wasm-ld >/dev/null 2>&1 && { command -v clang || ls /usr/bin/clang-[0-9]*; } >/dev/null 2>&1 && return
    debian clang lld
}

js() {
    set -- "$templates/js/package.json" "$templates/js/package-lock.json"
    is_new "$tools/js/.stamp" "$@" || return 0
    command -v npm >/dev/null || debian nodejs npm
    say "installing componentize-qjs"
    rm -rf "$tools/js" && mkdir -p "$tools/js" && cp "$@" "$tools/js/"
    (cd "$tools/js" && npm ci --no-audit --no-fund --silent >"$tools/languages.log" 2>&1) ||
        fail "npm could not install componentize-qjs; see $tools/languages.log"
    cat "$@" | cksum >"$tools/js/.stamp"
}

python() {
    is_new "$tools/python/.stamp" "$templates/python/requirements.txt" || return 0
    python3 -c 'import ensurepip, venv' 2>/dev/null || debian python3-venv
    say "installing componentize-py"
    rm -rf "$tools/python"
    { python3 -m venv "$tools/python" && "$tools/python/bin/pip" install --quiet --disable-pip-version-check \
        -r "$templates/python/requirements.txt"; } >"$tools/languages.log" 2>&1 ||
        fail "pip could not install componentize-py; see $tools/languages.log"
    cksum <"$templates/python/requirements.txt" >"$tools/python/.stamp"
}

mkdir -p "$tools"
tools=$(cd "$tools" && pwd)
c
js
python
