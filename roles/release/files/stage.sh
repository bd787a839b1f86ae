#!/bin/sh
# Install one release beside the one that runs: fetch, verify, install, prove. One script and not a task a line: each
# task costs a host about half a second, and this is most of what a booting VM waits for. Prints `changed` if so.
#
# Whole or not at all: `installed.json` of a build and `release.json` of a release are written last, by rename; what
# lacks its own is made again from nothing. Builds are shared by releases that differ in models or settings alone.
#
# Environment: RELEASE_ID, RELEASE_DOCUMENT and RELEASE_SERVICE_ENV (the two files), RELEASE_MODELS and
# RELEASE_WHEELHOUSE (lines of URI, generation, sha256), RELEASE_ROOT, RELEASE_CACHE, RELEASE_RUN, RELEASE_CHECK.
set -euf # no word of an address is a pattern of files
umask 022

runtime=$RELEASE_ROOT/runtime/bin
directory=$RELEASE_ROOT/releases/$RELEASE_ID
build_name=${RELEASE_WHEELHOUSE##* }
build=$RELEASE_ROOT/builds/$build_name

say_changed() {
  echo changed
  # A check stops at the first thing that it would do.
  [ "$RELEASE_CHECK" = false ] || exit 0
}

# put FILE TEXT: written beside, byte by byte, then renamed over.
put() {
  printf '%s' "$2" > "$1.part"
  mv -f "$1.part" "$1"
}

install_build() {
  # shellcheck disable=SC2086 # three words
  set -- $RELEASE_WHEELHOUSE
  wheelhouse=$("$runtime/skfleet-fetch" object "$1" --generation "$2" --sha256 "$3")
  rm -rf "$build"
  mkdir -p "$build"
  "$runtime/python" -m skfleet.vm.unpack "$wheelhouse" "$build/wheelhouse"
  "$runtime/uv" venv --quiet --no-config --offline --no-project --allow-existing --python "$runtime/python" "$build"
  (
    cd "$build/wheelhouse"
    "$runtime/uv" pip install --quiet --no-config --offline --no-index --find-links wheels --require-hashes \
      --link-mode hardlink --cache-dir "$RELEASE_CACHE/uv" --python "$build/bin/python" --requirements requirements.txt
  )
  rm -rf "$build/wheelhouse"
  put "$build/installed.json" "{\"sha256\": \"$build_name\"}
"
}

# Prints the models' directories.
fetch_models() {
  printf '%s\n' "$RELEASE_MODELS" | while read -r uri generation digest; do
    [ -n "$uri" ] || continue
    "$runtime/skfleet-fetch" model "$uri" --generation "$generation" --sha256 "$digest"
  done
}

# What the service will do, done once beside the one that runs: import the application with the release's settings, load
# each model (directories on standard input) on the fastest backend that gives its golden answers here. The bytecode that
# this leaves is needed: the service's user cannot write it, so every start would compile all that it imports.
prove() {
  "$build/bin/python" -c '
import os
import sys
from pathlib import Path

settings = os.environ["RELEASE_SERVICE_ENV"].splitlines()
os.environ.update(line.split("=", 1) for line in settings if "=" in line)
os.environ.update(SKFLEET_MODELS="", MODEL_URI="")  # below, one by one

import skfleet.serving.application
from skfleet.backends import load_model

for line in sys.stdin:
    load_model(Path(line.rstrip("\n")))
' 2>&1
}

if [ -e "$directory/release.json" ]; then
  if ! printf '%s' "$RELEASE_DOCUMENT" | cmp -s - "$directory/release.json"; then
    echo "Release '$RELEASE_ID' is installed here from another document; a release never changes: create a new one." >&2
    exit 1
  fi
else
  say_changed
  mkdir -p "$RELEASE_RUN"
  [ -e "$build/installed.json" ] || install_build
  models=$(fetch_models)
  if ! said=$(printf '%s\n' "$models" | prove); then
    printf '%s\n' "$said" | tail -n 3 >&2
    exit 1
  fi
  mkdir -p "$directory"
  ln -sfn "../../builds/$build_name" "$directory/venv"
  put "$directory/service.env" "$RELEASE_SERVICE_ENV"
  put "$directory/release.json" "$RELEASE_DOCUMENT"
fi

staged="{\"release\": \"$RELEASE_ID\"}"
if [ "$(cat "$RELEASE_RUN/staged.json" 2> /dev/null)" != "$staged" ]; then
  say_changed
  put "$RELEASE_RUN/staged.json" "$staged
"
fi
