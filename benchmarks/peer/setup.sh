#!/bin/sh
# Installs what the Python peer of the benchmark `commit` needs into $WATTLE_TOOLS/peer. Does nothing when it is there.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
peer=$WATTLE_TOOLS/peer
[ "$(cksum <"$here/requirements.txt")" != "$(cat "$peer/.stamp" 2>/dev/null)" ] || exit 0
echo "bench: installing pyarrow and deltalake"
rm -rf "$peer" && mkdir -p "$WATTLE_TOOLS"
if ! python3 -m venv "$peer" >"$WATTLE_TOOLS/peer.log" 2>&1 ||
    ! "$peer/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" >>"$WATTLE_TOOLS/peer.log" 2>&1; then
    echo "bench: pip could not install them; see $WATTLE_TOOLS/peer.log" >&2
    exit 1
fi
cksum <"$here/requirements.txt" >"$peer/.stamp"
