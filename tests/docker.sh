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
readonly NAME=docker_image_lands_files_over_ftp_and_sftp
readonly STAND_IN='LABEL landfall.stand-in=true'

say() { printf 'docker: %s\n' "$*"; }
fail() { printf 'docker: FAILED: %s\n' "$*" >&2; exit 1; }

if ! docker info >/dev/null 2>&1; then
    say "skipped: $NAME (no Docker engine answers here)"
    exit 0
fi
if docker compose version >/dev/null 2>&1; then
    compose() { docker compose -p "$PROJECT" -f docker/compose.yml "$@"; }
elif command -v docker-compose >/dev/null; then
    compose() { docker-compose -p "$PROJECT" -f docker/compose.yml "$@"; }
else
    say "skipped: $NAME (neither docker compose nor docker-compose is installed)"
    exit 0
fi

# --- base images ------------------------------------------------------------------------------------------------------

debian_root() { # a minimal Debian with a C compiler, as the Rust image has; made once
    local root=$SCRATCH/debian
    [ -e "$root/.complete" ] && return
    command -v debootstrap >/dev/null || fail "debootstrap is missing; tests/run installs it"
    rm -rf "$root"
    debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev,netbase,tzdata,libstdc++6 "$DEBIAN" "$root" \
        >"$SCRATCH/debootstrap.log" || fail "debootstrap: $(tail -n 1 "$SCRATCH/debootstrap.log")"
    touch "$root/.complete"
}

rust_image() { # laid out as docker.io/library/rust is; crates that this machine has need no network
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
        --change "$STAND_IN" \
        --change 'ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        --change 'ENV CARGO_HOME=/usr/local/cargo' - "$1" >/dev/null
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
    tar -C "$root" -c . | docker import --change "$STAND_IN" --change 'USER 65532' --change 'WORKDIR /home/nonroot' - "$1" >/dev/null
}

ensure_base_images() {
    local image
    for image in $(sed -n 's/^FROM \([^ ]*\).*/\1/p' docker/Dockerfile); do
        docker image inspect "$image" >/dev/null 2>&1 && continue
        timeout 300 docker pull --quiet "$image" >/dev/null 2>&1 && continue
        if [ "$(id -u)" != 0 ]; then
            say "skipped: $NAME (no registry in reach has $image, and only root can make a stand-in)"
            exit 0
        fi
        say "no registry in reach has $image: making a stand-in"
        case $image in
        rust:*) rust_image "$image" ;;
        gcr.io/distroless/*) runtime_image "$image" ;;
        *) fail "no stand-in is known for $image" ;;
        esac
    done
}

# --- the image and the container ----------------------------------------------------------------------------------------

scratch=$(mktemp -d)
down() {
    compose down --volumes --timeout 5 >/dev/null 2>&1 || true
    rm -rf "$scratch"
}
trap down EXIT

container() { compose ps -q landfall; }
landfall() { docker exec -i "$(container)" landfall "$@"; }

wait_until_healthy() {
    local state
    for _ in $(seq 120); do
        state=$(docker inspect --format '{{.State.Health.Status}}' "$(container)")
        [ "$state" = healthy ] && return
        sleep 0.5
    done
    docker logs "$(container)" >&2
    fail "the container is $state after a minute"
}

host_keys() { ssh-keyscan -p 2022 127.0.0.1 2>/dev/null | sort; }

readonly SSH_OPTIONS=(-oStrictHostKeyChecking=no -oUserKnownHostsFile=/dev/null -oLogLevel=ERROR
    -oPubkeyAuthentication=no -oBatchMode=no)
sftp_batch() { sshpass -p "$password" sftp "${SSH_OPTIONS[@]}" -P 2022 -b - acme@127.0.0.1 >/dev/null; }
ftp_fetch() { curl -sS --fail --ssl-reqd --insecure -u "acme:$password" "ftp://127.0.0.1:2121/$1" -o "$2"; }

readonly photograph=target/fixtures/photographs/astronaut.png
readonly password=a-secret-of-this-test

mkdir -p "$SCRATCH"
ensure_base_images
# BuildKit asks a registry about every base image, stand-ins included; the old builder takes what is there.
if docker images --quiet --filter label=landfall.stand-in=true | grep -q .; then
    export DOCKER_BUILDKIT=0 COMPOSE_DOCKER_CLI_BUILD=0
fi
say "building the image (profile $PROFILE)"
compose build --build-arg "PROFILE=$PROFILE" >"$SCRATCH/build.log" 2>&1 ||
    { tail -n 30 "$SCRATCH/build.log" >&2; fail "the image cannot be built; all of it is in $SCRATCH/build.log"; }
down
scratch=$(mktemp -d)
compose up --detach >"$SCRATCH/up.log" 2>&1 || { cat "$SCRATCH/up.log" >&2; fail "the container does not start"; }
wait_until_healthy
landfall health >/dev/null || fail "landfall health says no"

# What it may and may not do, as the kernel sees it.
[ "$(docker inspect --format '{{.HostConfig.ReadonlyRootfs}}' "$(container)")" = true ] || fail "the root is writable"
status=/proc/$(docker inspect --format '{{.State.Pid}}' "$(container)")/status
grep -Eq '^CapEff:\s+0+$' "$status" || fail "it has capabilities: $(grep CapEff "$status")"
grep -Eq '^CapBnd:\s+0+$' "$status" || fail "it could get capabilities: $(grep CapBnd "$status")"
grep -Eq '^NoNewPrivs:\s+1$' "$status" || fail "it could get privileges"
grep -Eq '^Uid:\s+1000\s+1000\s' "$status" || fail "it runs as $(grep Uid "$status")"

# Files over both protocols, through the published ports.
landfall user add acme --password-stdin <<<"$password" >/dev/null
keys=$(host_keys)
[ -n "$keys" ] || fail "no SSH host key"
curl -sS --fail --ssl-reqd --insecure --disable-epsv -u "acme:$password" -T "$photograph" ftp://127.0.0.1:2121/by-ftp.png
curl -sS --fail -u "acme:$password" -T "$photograph" ftp://127.0.0.1:2121/by-ftp-in-clear.png
sftp_batch <<<"put $photograph by-sftp.png"
landed=$(landfall uploads --json --status landed | grep -c "$(sha256sum "$photograph" | cut -d' ' -f1)")
[ "$landed" = 3 ] || fail "$landed of 3 receipts"

compose restart >/dev/null 2>&1
wait_until_healthy
[ "$(host_keys)" = "$keys" ] || fail "the host key is another one after a restart"
ftp_fetch by-sftp.png "$scratch/by-sftp.png"
sftp_batch <<<"get by-ftp.png $scratch/by-ftp.png"
for name in by-ftp.png by-sftp.png; do
    cmp -s "$photograph" "$scratch/$name" || fail "$name is not what it was"
done
[ "$(landfall uploads --json --status landed | wc -l)" = 3 ] || fail "receipts are gone after a restart"

# Everything written once more from scratch would be found in volumes only: a new container has the same state.
compose up --detach --force-recreate >/dev/null 2>&1
wait_until_healthy
ftp_fetch by-ftp.png "$scratch/again.png"
cmp -s "$photograph" "$scratch/again.png" || fail "a new container does not find the files"
say "passed: $NAME"
