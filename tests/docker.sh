#!/usr/bin/env bash
# Builds the real image, starts the real compose file, lands files through the published ports, restarts, looks again.
# Where no registry can be reached, the two base images are replaced by stand-ins of the same names and the same shape
# (Debian's own packages; this machine's Rust toolchain). Without a Docker engine it says so and is done.
#
# PROFILE=release builds what is shipped; the default, dev, takes a third of the time and tests the same container.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly PROFILE=${PROFILE:-dev}
readonly SCRATCH=$PWD/target/docker
readonly PROJECT=landfall-test
readonly DEBIAN=bookworm

say() { printf 'docker: %s\n' "$*"; }
fail() { printf 'docker: FAILED: %s\n' "$*" >&2; exit 1; }

if ! docker info >/dev/null 2>&1; then
    say "skipped: docker_image_lands_files_over_ftp_and_sftp (no Docker engine answers here)"
    exit 0
fi
if docker compose version >/dev/null 2>&1; then
    compose() { docker compose -p "$PROJECT" -f docker/compose.yml "$@"; }
elif command -v docker-compose >/dev/null; then
    compose() { docker-compose -p "$PROJECT" -f docker/compose.yml "$@"; }
else
    say "skipped: docker_image_lands_files_over_ftp_and_sftp (neither docker compose nor docker-compose is installed)"
    exit 0
fi

# --- base images ------------------------------------------------------------------------------------------------------

debian_root() { # a minimal Debian with a C compiler, as the Rust image has; made once
    local root=$SCRATCH/debian
    [ -e "$root/.complete" ] && return
    command -v debootstrap >/dev/null || fail "debootstrap is missing; tests/run installs it"
    rm -rf "$root"
    mkdir -p "$SCRATCH"
    debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev,netbase,tzdata,libstdc++6 "$DEBIAN" "$root" \
        >"$SCRATCH/debootstrap.log" || fail "debootstrap: $(tail -n 1 "$SCRATCH/debootstrap.log")"
    touch "$root/.complete"
}

rust_image() { # as docker.io/library/rust is laid out: toolchain, cargo home, gcc
    local root=$SCRATCH/debian sysroot registry
    debian_root
    sysroot=$(rustc --print sysroot)
    registry=${CARGO_HOME:-$HOME/.cargo}/registry
    mkdir -p "$root/usr/local/rust/lib/rustlib" "$root/usr/local/cargo/registry"
    cp -a "$sysroot/bin" "$root/usr/local/rust/"
    cp -a "$sysroot"/lib/*.so* "$root/usr/local/rust/lib/"
    cp -a "$sysroot/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')" "$root/usr/local/rust/lib/rustlib/"
    cp -a "$registry/index" "$registry/cache" "$root/usr/local/cargo/registry/"
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    tar -C "$root" --exclude=./var/cache/apt/archives/*.deb -c . | docker import \
        --change 'ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        --change 'ENV CARGO_HOME=/usr/local/cargo CARGO_NET_OFFLINE=true' - "$1" >/dev/null
}

runtime_image() { # as distroless/cc is made: a handful of unpacked packages, no shell, no package manager
    local root=$SCRATCH/runtime archives=$SCRATCH/debian/var/cache/apt/archives package
    debian_root
    rm -rf "$root"
    mkdir -p "$root"/{etc/ssl/certs,home/nonroot,root,tmp}
    for package in base-files libc6 libgcc-s1 libstdc++6 netbase tzdata; do
        dpkg-deb -x "$archives/${package}"_*.deb "$root"
    done
    chmod 1777 "$root/tmp"
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    printf '%s\n' root:x:0:0:root:/root:/sbin/nologin nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin >"$root/etc/passwd"
    printf '%s\n' root:x:0: nonroot:x:65532: >"$root/etc/group"
    tar -C "$root" -c . | docker import --change 'USER 65532' --change 'WORKDIR /home/nonroot' - "$1" >/dev/null
}

ensure_base_images() {
    local image
    for image in $(sed -n 's/^FROM \([^ ]*\).*/\1/p' docker/Dockerfile); do
        docker image inspect "$image" >/dev/null 2>&1 && continue
        timeout 300 docker pull --quiet "$image" >/dev/null 2>&1 && continue
        say "no registry has $image for us: making a stand-in"
        case $image in
        rust:*) rust_image "$image" ;;
        gcr.io/distroless/*) runtime_image "$image" ;;
        *) fail "no stand-in is known for $image" ;;
        esac
    done
}
