#!/bin/sh
# Make the image's own environment from a wheelhouse: `install.sh CONTENTS TARGET`, without a package index or pip.
# CONTENTS is what `skfleet app image` wrote (runtime.tar, bundle.tar, image.json). The environment is made beside its
# place and moves there when it is whole; `image.json` in it says which one it is.
set -eu
umask 022

contents=$1
target=$2

mkdir -p "$(dirname "$target")"
scratch=$(mktemp -d "$target.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
chmod 755 "$scratch"

tar --extract --file "$contents/runtime.tar" --directory "$scratch" --no-same-owner
# uv installs everything else, and comes as a wheel itself.
/usr/bin/python3 -m zipfile --extract "$scratch"/wheels/uv-*.whl "$scratch/uv"
uv=$(find "$scratch/uv" -path '*.data/scripts/uv')
chmod 755 "$uv"

runtime=$scratch/runtime
"$uv" venv --quiet --no-config --offline --no-project --relocatable --python /usr/bin/python3 "$runtime"
(
  cd "$scratch"
  "$uv" pip install --quiet --no-config --offline --no-index --find-links wheels --require-hashes \
    --link-mode hardlink --cache-dir "$scratch/cache" --python "$runtime/bin/python" --requirements requirements.txt
)
mkdir -p "$runtime/share/skfleet"
cp "$contents/bundle.tar" "$contents/image.json" "$runtime/share/skfleet/"
"$runtime/bin/python" -m skfleet.vm.bytecode --moved "$runtime" "$target"
rm -rf "$target"
mv "$runtime" "$target"
