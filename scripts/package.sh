#!/usr/bin/env bash
# Builds the Debian package. The last line of its output is the package's path.
#
#   scripts/package.sh [--binary FILE] [--version VERSION] [--output FOLDER] [--fast]
#   scripts/package.sh --prepare       only installs cargo-deb, if it is not there
#
# Without --binary the program is built for release. Manual pages and completions are what that very program prints. --fast
# makes a larger package in less time.
set -euo pipefail
caller=$PWD
cd "$(dirname "$0")/.."

# Rust 1.85 or newer builds this version; a newer one that is there already is as good.
cargo_deb_version=3.8.0

fail() {
    echo "package: $*" >&2
    exit 1
}

# A path that the caller gave, from where the caller stands.
given() {
    case $1 in
    /*) printf '%s' "$1" ;;
    *) printf '%s/%s' "$caller" "$1" ;;
    esac
}

usage="usage: scripts/package.sh [--binary FILE] [--version VERSION] [--output FOLDER] [--fast]"
binary='' version='' output=target/debian compression=(-Z xz) prepare=
while (($#)); do
    option=$1
    shift
    case $option in
    --fast) compression=(-Z gz --compress-system) && continue ;;
    --prepare) prepare=yes && continue ;;
    esac
    (($#)) || fail "$option needs a value; $usage"
    case $option in
    --binary) binary=$(given "$1") ;;
    --version) version=$1 ;;
    --output) output=$(given "$1") ;;
    *) fail "unknown option $option; $usage" ;;
    esac
    shift
done

for tool in dpkg-deb dpkg-shlibdeps strip gzip; do
    command -v "$tool" >/dev/null || fail "$tool is missing: apt-get install dpkg-dev binutils gzip"
done
if ! cargo deb --version >/dev/null 2>&1; then
    echo "installing cargo-deb $cargo_deb_version from source: this takes a minute or two" >&2
    CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug "cargo-deb@$cargo_deb_version"
fi
if [[ -n $prepare ]]; then exit; fi

if [[ -z $binary ]]; then
    cargo build --release --locked --bin causeway
    binary=${CARGO_TARGET_DIR:-target}/release/causeway
fi
[[ -x $binary ]] || fail "$binary is no program"
: "${version:=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)-1}"

# Everything is put together in a folder of its own, which cargo-deb takes for the target folder of a build: several packages
# can be made at the same time, and none of them touches what cargo built.
mkdir -p "$output"
stage=$(mktemp -d "$output/.stage.XXXXXX")
trap 'rm -rf "$stage"' EXIT
made=$stage/release
mkdir -p "$made/completions"
install -m 755 "$binary" "$made/causeway"
strip "$made/causeway"
"$made/causeway" man --output "$made/man"
gzip --best --no-name "$made"/man/*
for shell in bash zsh fish; do
    "$made/causeway" completions "$shell" >"$made/completions/$shell"
done

# The same sources make the same package: dates are those of the last commit.
if [[ -z ${SOURCE_DATE_EPOCH:-} ]]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.lock)
fi
export SOURCE_DATE_EPOCH
maintainer=$(sed -n '/^\[package.metadata.deb\]/,/^\[/s/^maintainer = "\(.*\)"/\1/p' Cargo.toml)
gzip --best --no-name >"$made/changelog.Debian.gz" <<END
causeway ($version) unstable; urgency=medium

  * What changes for those who run it is in changelog.gz, beside this file.

 -- $maintainer  $(LC_ALL=C date --utc --rfc-email --date="@$SOURCE_DATE_EPOCH")
END
gzip --best --no-name --stdout CHANGELOG.md >"$made/changelog.gz"

package=$output/causeway_${version}_$(dpkg --print-architecture).deb
CARGO_TARGET_DIR=$stage cargo deb --quiet --offline --no-build --no-strip "${compression[@]}" \
    --deb-version "$version" --output "$package" >/dev/null
echo "$package"
