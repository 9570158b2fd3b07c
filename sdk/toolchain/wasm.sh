#!/bin/sh
# Makes the target wasm32-unknown-unknown available and leaves an `env` file to source before cargo.
#
#   sdk/toolchain/wasm.sh          prints which way it took and where `env` lies
#
# Two ways, the first that works:
#   rustup   `rustup target add wasm32-unknown-unknown`
#   debian   the compiler and the sources of Debian's rustc-web, laid out as a toolchain folder of their own,
#            with the standard library built from them once (needs root or sudo for libllvm; about 400 MB)
#
# WATTLE_TOOLS   folder for tools, of which this takes the subfolder `wasm`; default target/tools
# WATTLE_WASM    `rustup` or `debian`: take only this way
#
# It may be stopped and started again at any point: each step leaves its result under its final name only
# when it is whole, and a step whose result is there is not done again.
set -eu

checkout=$(cd "$(dirname "$0")/../.." && pwd)
tools=${WATTLE_TOOLS:-${CARGO_TARGET_DIR:-$checkout/target}/tools}/wasm
way=${WATTLE_WASM:-}
target=wasm32-unknown-unknown

say() { echo "wasm toolchain: $*"; }
fail() { echo "wasm toolchain: $*" >&2; exit 1; }

has_target() { # RUSTC: whether that compiler's sysroot holds the target's standard library
    ls "$("$1" --print sysroot)/lib/rustlib/$target/lib"/libstd-*.rlib >/dev/null 2>&1
}

write_env() { # WAY, and on stdin the lines of the file
    { echo "# The $1 way to $target; written by sdk/toolchain/wasm.sh."; cat; } >"$tools/env.new"
    mv "$tools/env.new" "$tools/env"
    say "$target by way of $1; source $tools/env"
}

# ---- rustup ---------------------------------------------------------------------------------------------

by_rustup() {
    if ! has_target rustc; then
        command -v rustup >/dev/null || return 1
        timeout 120 rustup target add "$target" >"$tools/rustup.log" 2>&1 || return 1
        has_target rustc || return 1
    fi
    write_env rustup </dev/null
}

# ---- debian ---------------------------------------------------------------------------------------------

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else fail "rustup could not add $target, and \`$*\` needs root; run this as root or install sudo"
    fi
}

find_packages() { # sets std_package and src_version; false when apt doesn't know them
    std_package=$(apt-cache depends libstd-rust-web-dev 2>/dev/null | grep -o 'libstd-rust-web-[0-9][0-9.]*' | tail -1)
    src_version=$(apt-cache policy rust-web-src 2>/dev/null | sed -n 's/ *Candidate: \([0-9.]*\).*/\1/p')
    [ -n "$std_package" ] && [ -n "$src_version" ]
}

fetch() { # downloads and unpacks the packages into $tools/unpacked
    if [ -d "$tools/unpacked" ] || [ -d "$tools/rust" ]; then return; fi
    find_packages || { as_root apt-get update -qq; find_packages; } ||
        fail "rustup could not add $target, and apt knows no rustc-web: use Debian 12 with its security updates, or a rustup that can reach its server"
    rm -rf "$tools/deb" "$tools/unpacked.new"
    mkdir -p "$tools/deb" "$tools/unpacked.new"
    say "fetching rustc-web $src_version and its sources"
    (cd "$tools/deb" && apt-get -o APT::Sandbox::User=root download -qq \
        rustc-web "$std_package" libstd-rust-web-dev rust-web-src) ||
        fail "apt-get could not download Debian's rustc-web; see its message above"
    for deb in "$tools"/deb/*.deb; do dpkg -x "$deb" "$tools/unpacked.new"; done
    mv "$tools/unpacked.new" "$tools/unpacked"
    rm -rf "$tools/deb"
}

lay_out() { # makes $tools/rust a toolchain folder
    [ -d "$tools/rust" ] && return
    host=$(rustc -vV | sed -n 's/^host: //p')
    own="$(rustc --print sysroot)/lib/rustlib/$host/bin"
    [ -x "$own/rust-lld" ] || fail "the toolchain of $(command -v rustc) has no rust-lld; install Rust with rustup"
    new=$tools/rust.new
    rm -rf "$new"
    mkdir -p "$new/bin" "$new/lib/rustlib/src/rust"
    cp -a "$tools/unpacked/usr/bin/rustc" "$new/bin/"
    find "$tools/unpacked/usr/lib" -name 'librustc_driver-*.so' -exec cp -a {} "$new/lib/" \;
    cp -a "$tools/unpacked/usr/lib/rustlib/$host" "$new/lib/rustlib/"
    find "$tools/unpacked/usr/lib" -name 'libstd-*.so' -path '*linux-gnu*' -exec cp -L -n {} "$new/lib/" \;
    sources=$(echo "$tools"/unpacked/usr/src/rustc-*)
    cp -a "$sources/library" "$new/lib/rustlib/src/rust/"
    for file in Cargo.lock Cargo.toml; do
        [ ! -e "$sources/$file" ] || cp -a "$sources/$file" "$new/lib/rustlib/src/rust/"
    done
    mkdir -p "$new/lib/rustlib/$host/bin"
    cp -aL "$own/." "$new/lib/rustlib/$host/bin/"
    mv "$new" "$tools/rust"
    rm -rf "$tools/unpacked"
}

install_llvm() { # the compiler is linked with Debian's LLVM of a version of its own
    driver=$(find "$tools/rust/lib" -maxdepth 1 -name 'librustc_driver-*.so')
    llvm=$(ldd "$driver" | sed -n 's/.*libLLVM[^ ]*\.so\.\([0-9]*\)[^ ]* => not found.*/libllvm\1/p')
    [ -z "$llvm" ] || as_root apt-get install -y -qq --no-install-recommends "$llvm" >"$tools/apt.log" 2>&1 ||
        fail "apt-get could not install $llvm, which Debian's rustc-web needs; see $tools/apt.log"
}

build_std() { # builds the standard library for the target and keeps it in the toolchain folder
    has_target "$RUSTC" && return
    say "building the standard library for $target"
    probe=$tools/probe
    mkdir -p "$probe/src"
    printf '[package]\nname = "probe"\nedition = "2024"\n[lib]\ncrate-type = ["cdylib"]\n[workspace]\n[profile.release]\npanic = "abort"\n' >"$probe/Cargo.toml"
    echo '//! Makes cargo build the standard library.' >"$probe/src/lib.rs"
    (cd "$probe" && RUSTC_BOOTSTRAP=1 cargo build --release --quiet -Zbuild-std=std,panic_abort \
        --target "$target" --target-dir "$probe/target") ||
        fail "the standard library did not build from Debian's sources; see cargo's message above"
    libraries=$("$RUSTC" --print sysroot)/lib/rustlib/$target/lib
    rm -rf "$libraries.new"
    mkdir -p "$libraries.new" "$(dirname "$libraries")"
    cp "$probe/target/$target/release/deps"/*.rlib "$libraries.new/"
    rm -rf "$libraries"
    mv "$libraries.new" "$libraries"
    rm -rf "$probe"
}

by_debian() {
    fetch
    lay_out
    install_llvm
    export RUSTC="$tools/rust/bin/rustc" LD_LIBRARY_PATH="$tools/rust/lib"
    "$RUSTC" --version >/dev/null || fail "the compiler in $tools/rust does not start; remove that folder and run this again"
    build_std
    write_env debian <<END
export RUSTC="$RUSTC"
export LD_LIBRARY_PATH="$LD_LIBRARY_PATH\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
END
}

command -v cargo >/dev/null || fail "cargo is missing; install Rust's stable toolchain with rustup"
mkdir -p "$tools"
tools=$(cd "$tools" && pwd)
case $way in '' | rustup | debian) ;; *) fail "WATTLE_WASM is \`$way\`; use rustup or debian, or leave it empty" ;; esac
if [ "$way" != debian ] && by_rustup; then exit; fi
[ "$way" != rustup ] || fail "rustup could not add $target; see $tools/rustup.log"
command -v apt-get >/dev/null ||
    fail "rustup could not add $target and this is no Debian; run \`rustup target add $target\` where its server can be reached"
by_debian
