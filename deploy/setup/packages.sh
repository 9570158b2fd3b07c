#!/usr/bin/env bash
# Installs the Debian packages and the Rust toolchain that building, running and testing Wattle need.
# Does nothing when all is there. As root, or with sudo.
set -euo pipefail

# Compiler and linker for the C parts of libraries; the broker and its clients; a Python with an MQTT client, which
# shows that the contract of docs/mqtt.md is enough; and strace, with which tests see and break what the edge does to its disk.
packages=(build-essential ca-certificates curl pkg-config libssl-dev mosquitto mosquitto-clients python3-minimal python3-paho-mqtt strace)
# Apache Kafka runs in a Java of at least 17, and Maven fetches it, both for tests only.
command -v java >/dev/null || packages+=(openjdk-17-jre-headless)
command -v mvn >/dev/null || packages+=(maven)

missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else echo "setup: needs root to install packages; run as root or install sudo" >&2; exit 1
    fi
}

if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null || {
        echo "setup: this is no Debian; install by hand: ${missing[*]}" >&2; exit 1; }
    echo "setup: installing ${missing[*]}"
    as_root apt-get update -qq
    # The broker's own service would take port 1883; Wattle starts brokers where it needs them.
    policy=/usr/sbin/policy-rc.d; made=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null; as_root chmod 755 "$policy"; made=1
    fi
    status=0
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || status=$?
    [ -z "$made" ] || as_root rm -f "$policy"
    [ "$status" = 0 ] || { echo "setup: apt-get could not install: ${missing[*]}" >&2; exit 1; }
fi

if ! command -v cargo >/dev/null; then
    echo "setup: installing Rust by rustup"
    curl --proto '=https' --tlsv1.2 -fsS https://sh.rustup.rs | sh -s -- -y --profile minimal -c rustfmt -c clippy || {
        echo "setup: rustup could not be fetched; install Rust 1.95 or newer by hand (https://rustup.rs)" >&2; exit 1; }
fi
