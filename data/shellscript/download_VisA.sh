#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# Fetch the VisA data set and unpack it to data/download/VisA. An interrupted download goes on where it stopped; what
# lies under the final name is always whole.
set -euo pipefail
# The messages of the tools end up in ours.
export LC_ALL=C

url=https://amazon-visual-anomaly.s3.us-west-2.amazonaws.com/VisA_20220922.tar
# Amazon publishes no checksum. This is the one that anomalib's own downloader holds against the same address
# (anomalib/data/datamodules/image/visa.py), of the archive of 1,929,840,640 bytes.
sha256=2eb8690c803ab37de0324772964100169ec8ba1fa3f7e94291c9ca673f40f362
dir=$(dirname -- "$(realpath -- "$0")")/../download/VisA
tries=5

usage() {
  cat <<'HELP'
usage: download_VisA.sh [--url URL] [--dir DIR] [--sha256 HEX]

Fetch the VisA data set (1.8 GB, CC BY 4.0) and unpack it. Run it again after an interruption: it goes on from there.

  --url URL      another address of the archive: http://, https:// or file:// (which is read where it lies)
  --dir DIR      where to unpack it (default: data/download/VisA of this checkout)
  --sha256 HEX   the checksum to expect, where it is not the known archive
  --help         this text

example: data/shellscript/download_VisA.sh --url file:///media/usb/VisA_20220922.tar
HELP
}

fail() {
  echo "error: $1" >&2
  exit "${2:-1}"
}

# Run a command; the first thing it complains of is our error, followed by the advice $1.
attempt() {
  local advice=$1 said
  shift
  said=$("$@" 2>&1) || { said=${said%%$'\n'*} && fail "${said#"$1": }: $advice"; }
}

size_of() { stat --format %s -- "$1" 2>/dev/null || echo 0; }
readable() { numfmt --to=iec --suffix=B -- "$1"; }

need_space() {
  local free
  free=$(df --output=avail --block-size=1 -- "$parent" | tail -n 1)
  ((free >= $1)) ||
    fail "$parent: $(readable "$1") are needed, $(readable "$free") are free: make room, or give another --dir"
}

# Set $size (empty: unknown) and $ranges (empty: the server cannot go on in the middle of the file).
ask_server() {
  local said answer
  if [[ $client == curl ]]; then
    set -- curl --silent --show-error --fail --location --head --connect-timeout 20 --max-time 60
  else
    set -- wget --spider --server-response --no-verbose --tries=1 --timeout=20
  fi
  if ! said=$("$@" "$url" 2>&1); then
    # curl may print headers after its complaint; wget's is the last line.
    said=$(awk '/[^ \r]/ { last = $0 } /^curl: / { exit } END { print last }' <<< "$said")
    fail "$url: ${said#curl: }: check the network and the address, then run this again"
  fi
  # Every redirection has headers of its own; the last ones count.
  answer=$(awk '
    { sub(/\r$/, ""); name = tolower($1) }
    name ~ /^http\// { size = ranges = "" }
    name == "content-length:" { size = $2 }
    name == "accept-ranges:" && tolower($2) == "bytes" { ranges = "yes" }
    END { print size "," ranges }' <<< "$said")
  size=${answer%,*} ranges=${answer#*,}
  [[ $size =~ ^[1-9][0-9]*$ ]] || size=
}

# Go on with $part, once.
get() {
  if [[ $client == curl ]]; then
    set -- curl --fail --location --connect-timeout 20 --speed-limit 1 --speed-time 60 --continue-at - --output "$part"
    if [[ -t 2 ]]; then set -- "$@" --progress-bar; else set -- "$@" --silent; fi
  else
    set -- wget --quiet --tries=1 --timeout=60 --continue --output-document "$part"
    [[ ! -t 2 ]] || set -- "$@" --show-progress
  fi
  "$@" "$url"
}

# Fetch $url to $archive.
fetch() {
  local part=$archive.part size ranges status try
  if command -v curl > /dev/null; then
    client=curl
  elif command -v wget > /dev/null; then
    client=wget
  else
    fail 'neither curl nor wget found: apt install curl'
  fi
  ask_server
  # More than there is to get: not the same file.
  if [[ -n $size ]] && (($(size_of "$part") > size)); then rm -f -- "$part"; fi
  [[ -z $size ]] || need_space $((2 * size - $(size_of "$part")))

  echo "fetching $url${size:+ ($(readable "$size"))} to $part"
  for ((try = 1; ; try++)); do
    if [[ -n $size ]] && (($(size_of "$part") == size)); then break; fi
    [[ -n $ranges ]] || rm -f -- "$part"
    status=0
    get || status=$?
    ((status)) || break
    # What curl (23) and wget (3) say when a file cannot be written.
    [[ $client$status != curl23 && $client$status != wget3 ]] ||
      fail "$part: cannot be written: is the disc full? Make room and run this again; it goes on from there"
    ((try < tries)) ||
      fail "$url: the connection broke $tries times ($client says $status): run this again later; it goes on from $part"
    sleep "$try"
  done
  [[ -z $size || $(size_of "$part") == "$size" ]] ||
    fail "$part: has $(size_of "$part") bytes, the server announced $size: run this again"
  mv -- "$part" "$archive"
}

check() {
  local got
  echo "checking $archive"
  got=$(sha256sum < "$archive")
  got=${got%% *}
  [[ $got == "$sha256" ]] ||
    fail "$archive: its sha256 is $got, not $sha256: remove it and run this again, or give --sha256 if you trust it"
}

unpack() {
  local unpacking=$dir.unpacking listing entry
  echo "unpacking to $dir"
  need_space "$(size_of "$archive")"
  # Left behind where nothing could clean up: a power cut, kill -9.
  rm -rf -- "$unpacking"
  listing=$(tar --list --verbose --numeric-owner --absolute-names --quoting-style=escape --force-local \
    --file "$archive" 2> /dev/null) || fail "$archive: broken or no tar archive: remove it and run this again"
  # VisA holds files and folders. A link could lead a later entry, or a reader, out of the folder.
  entry=$(awk '
    { name = $0; sub(/^[^ ]+ +[^ ]+ +[^ ]+ +[^ ]+ +[^ ]+ /, "", name) }
    !/^[-d]/ || name ~ /^\// || name ~ /(^|\/)\.\.(\/|$)/ { print name; exit }' <<< "$listing")
  [[ -z $entry ]] || fail "$archive: the entry $entry leads out of the folder: this is not VisA, remove it"

  trap 'rm -rf -- "$dir.unpacking"' EXIT
  mkdir -- "$unpacking"
  attempt "$archive cannot be unpacked: make room and run this again" \
    tar --extract --no-same-owner --no-same-permissions --force-local --file "$archive" --directory "$unpacking"
  [[ -f $unpacking/split_csv/1cls.csv ]] ||
    fail "$archive: has no split_csv/1cls.csv: this is not VisA, remove it or give another --url"
  sync --file-system -- "$unpacking"
  attempt 'move it away and run this again' mv --no-target-directory -- "$unpacking" "$dir"
}

while (($#)); do
  case $1 in
    --help | -h) usage && exit ;;
    --url | --dir | --sha256)
      [[ -n ${2:-} ]] || fail "$1 needs a value; see --help" 2
      declare "${1#--}=$2"
      shift 2
      ;;
    *) fail "unknown argument $1; see --help" 2 ;;
  esac
done
sha256=${sha256,,}
[[ $sha256 =~ ^[0-9a-f]{64}$ ]] || fail "--sha256 $sha256: not 64 hexadecimal digits" 2
[[ $url =~ ^(https?://[^/]|file:///) ]] || fail "--url $url: give http://, https:// or file:///" 2

dir=$(realpath --canonicalize-missing -- "$dir")
parent=$(dirname -- "$dir")
if [[ -f $dir/split_csv/1cls.csv ]]; then
  echo "$dir: already there"
  exit
fi
if [[ -e $dir ]] && [[ ! -d $dir || -n $(ls -A -- "$dir") ]]; then
  fail "$dir: exists and is not VisA: move it away, or give another --dir"
fi
attempt 'give another --dir' mkdir -p -- "$parent"
[[ -w $parent ]] || fail "$parent: may not be written to: give another --dir"

# Two at once would write into the same file.
exec 9> "$parent/.$(basename -- "$dir").lock"
flock --nonblock 9 || fail "$dir: another run is fetching it: wait for that one"

if [[ $url == file://* ]]; then
  path=${url#file://} path=${path//\\/\\\\}
  printf -v archive %b "${path//%/\\x}"
  [[ -f $archive && -r $archive ]] || fail "$archive: no such file, or not readable: check --url"
else
  archive=$dir.tar
  [[ -f $archive ]] || fetch
fi
check
unpack
# Its contents are all there is to it, and it is large.
[[ $url == file://* ]] || rm -f -- "$archive"
echo "ready: arrange it with $(dirname -- "$0")/move_VisA.sh"
