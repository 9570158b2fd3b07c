#!/bin/sh
# Builds the policies of this checkout into target/policies/<name>.wasm.
#
#   sdk/toolchain/build-policies.sh [NAME...]     default: every folder of policies/, and the hostile guests
#
# Makes the WebAssembly target available first where it is missing (see wasm.sh). Cargo's results stand in
# target/wasm, apart from those for this machine, so that neither kind of build makes the other start over.
set -eu

checkout=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$checkout/target}
tools=${WATTLE_TOOLS:-$target/tools}/wasm
out=${WATTLE_POLICIES:-$target/policies}
tool=$target/wasm/tool/wattle-policy-build
built=$target/wasm/wasm32-unknown-unknown/policy
cd "$checkout"

usable() { # whether the env file that wasm.sh left still leads to a target
    [ -f "$tools/env" ] && (
        . "$tools/env"
        ls "$("${RUSTC:-rustc}" --print sysroot)/lib/rustlib/wasm32-unknown-unknown/lib"/libstd-*.rlib
    ) >/dev/null 2>&1
}

[ $# -gt 0 ] || set -- $(cd policies && ls -d */ | tr -d /)
packages=
for name in "$@"; do
    [ -f "policies/$name/Cargo.toml" ] || { echo "policies: there is no policies/$name/Cargo.toml" >&2; exit 1; }
    packages="$packages -p policy-$name"
done

usable || "$(dirname "$0")/wasm.sh"
mkdir -p "$out"
cargo build --quiet --profile tool --target-dir "$target/wasm" -p wattle-policy-build
# A subshell: the toolchain for WebAssembly is not the one for this machine.
(. "$tools/env" && cargo build --quiet --profile policy --target wasm32-unknown-unknown --target-dir "$target/wasm" $packages)
for name in "$@"; do
    module=$built/policy_$(echo "$name" | tr - _).wasm
    component=$out/$name.wasm
    if [ "$component" -nt "$module" ] && [ "$component" -nt "$tool" ]; then continue; fi
    "$tool" "$module" "$component"
done
