#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# Arrange the unpacked VisA data set as adet reads it: data/train/VisA_<category> and
# data/test/VisA_<category>/{normal,anomaly,masks}. Despite its name it takes nothing away unless it is told to.
set -euo pipefail
# Sorting is by bytes, and the messages of the tools end up in ours.
export LC_ALL=C

data=$(dirname -- "$(realpath -- "$0")")/..
from=$data/download/VisA data_root=$data split=1cls move=

usage() {
  cat <<'HELP'
usage: move_VisA.sh [--from DIR] [--data-root DIR] [--split NAME] [--move] [CATEGORY...]

Arrange VisA as adet reads it, all categories or those named. Images are hard links where possible, else copies, so
the download stays as it is. What is already arranged is checked and left alone.

  --from DIR        the unpacked archive (default: data/download/VisA of this checkout)
  --data-root DIR   gets train/VisA_<category> and test/VisA_<category> (default: data)
  --split NAME      which of the archive's split_csv/NAME.csv says what is for training (default: 1cls)
  --move            remove the images from the unpacked archive afterwards
  --help            this text

example: data/shellscript/move_VisA.sh pipe_fryum candle
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

# Print a line "category, train|test|unused, file below the category's folder, file below $from" for each file that
# $csv names, with tabs between. The archive's own csv files end their lines with CR LF.
read_csv() {
  awk '
    function die(why) {
      print "error: " FILENAME ":" FNR ": " why ": restore the file from the archive" > "/dev/stderr"
      failed = 1
      exit 1
    }
    # Fill field[1], field[2]... from a line whose fields may be quoted.
    function split_fields(line,    n, i, c, quoted) {
      field[n = 1] = ""
      for (i = 1; i <= length(line); i++) {
        c = substr(line, i, 1)
        if (c == "\"" && quoted && substr(line, i + 1, 1) == c) { field[n] = field[n] c; i++ }
        else if (c == "\"") quoted = !quoted
        else if (c == "," && !quoted) field[++n] = ""
        else field[n] = field[n] c
      }
      return n
    }
    function check(path) {
      if (path == "" || path ~ /^\// || path ~ /(^|\/)\.\.?(\/|$)/ || path ~ /[\001-\037]/)
        die("\"" path "\" is no path inside the archive")
    }
    function add(category, set, target, source) {
      check(source)
      if ((category, set, target) in seen) die("a second " target " of " category)
      seen[category, set, target] = 1
      print category "\t" set "\t" target "\t" source
    }
    { sub(/\r$/, "") }
    NR == 1 {
      sub(/^\357\273\277/, "")
      count = split_fields($0)
      for (i = 1; i <= count; i++) column[field[i]] = i
      split("object split label image mask", needed, " ")
      for (i = 1; i <= 5; i++) if (!(needed[i] in column)) die("has no column " needed[i])
      next
    }
    /^$/ { next }
    {
      if (split_fields($0) != count) die("has not " count " fields")
      category = field[column["object"]]; set = field[column["split"]]; label = field[column["label"]]
      image = field[column["image"]]; mask = field[column["mask"]]
      if (category !~ /^[A-Za-z0-9_-]+$/) die("category \"" category "\" is no name of a folder")
      if (set != "train" && set != "test") die("split \"" set "\" is neither train nor test")
      if (label != "normal" && label != "anomaly") die("label \"" label "\" is neither normal nor anomaly")
      name = image
      sub(/^.*\//, "", name)
      if (set == "test") add(category, set, label "/" name, image)
      else add(category, label == "normal" ? set : "unused", name, image)
      if (set == "test" && label == "anomaly" && mask != "") {
        # A mask is found by the name of its image, and by a suffix in small letters.
        sub(/\.[^.]*$/, "", name)
        suffix = tolower(mask)
        sub(/^.*\./, "", suffix)
        add(category, set, "masks/" name "." suffix, mask)
      }
    }
    END { if (failed) exit 1 }' "$csv"
}

# The files of category $1 in set $2: a line "file below its folder, file below $from" each.
files_of() {
  awk -F '\t' -v category="$1" -v set="$2" '$1 == category && $2 == set { print $3 "\t" $4 }' <<< "$plan"
}

# Fail unless folder $1 holds the files $2 and nothing else.
compare() {
  local folder=$1 files=$2 odd target source
  odd=$(comm -3 <(cut -f 1 <<< "$files" | sort) \
    <(find "$folder/" -mindepth 1 -name '.*' -prune -o ! -type d -printf '%P\n' | sort))
  odd=${odd%%$'\n'*}
  case $odd in
    '') ;;
    $'\t'*) fail "$folder: is there already, and $csv knows nothing of its ${odd#$'\t'}: move the folder away" ;;
    *) fail "$folder: is there already, but without $odd: move the folder away" ;;
  esac
  while IFS=$'\t' read -r target source; do
    # With --move the source is gone, and the name is all there is to compare.
    [[ ! -e $from/$source || $folder/$target -ef $from/$source ]] ||
      cmp --silent -- "$folder/$target" "$from/$source" ||
      fail "$folder/$target: differs from $from/$source: move the folder away"
  done <<< "$files"
}

# Fill folder $1 with the files $2; sets $how.
fill() {
  local folder=$1 files=$2 target source
  while IFS=$'\t' read -r target source; do
    [[ -f $from/$source ]] ||
      fail "$from/$source: missing, though $csv names it: if not by --move, remove $from and fetch it again"
    # Another file system, or one without hard links.
    if ! ln --logical -- "$from/$source" "$folder/$target" 2> /dev/null; then
      attempt 'make room and run this again' cp --dereference -- "$from/$source" "$folder/$target"
      how=copied
    fi
  done <<< "$files"
}

# Both folders of category $1 are made beside their places; they appear there only when both are complete.
arrange() {
  local category=$1 set folder files how='already there' made=() summary removed
  for set in train test; do
    files=$(files_of "$category" "$set")
    [[ -n $files ]] || fail "$csv: has no $set images of $category: choose another --split or category"
    folder=$data_root/$set/VisA_$category
    if [[ -d $folder && -n $(ls -A -- "$folder") ]]; then
      compare "$folder" "$files"
      continue
    fi
    partial=$data_root/$set/.VisA_$category.partial
    rm -rf -- "$partial"
    partials+=("$partial")
    mkdir -- "$partial"
    [[ $set == train ]] || mkdir -- "$partial"/{normal,anomaly,masks}
    [[ $how == copied ]] || how=linked
    fill "$partial" "$files"
    # A folder to train from is the sign that a category is ready: it comes last.
    made=("$set" "${made[@]}")
  done
  for set in "${made[@]}"; do
    sync --file-system -- "$data_root/$set/.VisA_$category.partial"
    attempt 'move it away and run this again' mv --no-target-directory -- \
      "$data_root/$set/.VisA_$category.partial" "$data_root/$set/VisA_$category"
  done
  summary=$(awk -F '\t' -v category="$category" '
    $1 == category { sub(/\/.*/, "", $3); count[$2 == "test" ? $3 : $2]++ }
    END {
      printf "train %d normal; test %d normal, %d anomaly, %d masks", \
        count["train"], count["normal"], count["anomaly"], count["masks"]
      if (count["unused"]) printf "; %d anomaly of the training split not used", count["unused"]
    }' <<< "$plan")
  if [[ -n $move ]]; then
    removed=$(cd -- "$from" && { files_of "$category" train; files_of "$category" test; } |
      cut -f 2 | xargs -d '\n' rm --force --verbose --)
    [[ -z $removed ]] || how=moved
  fi
  echo "VisA_$category: $summary ($how)"
}

wanted=()
while (($#)); do
  case $1 in
    --help | -h) usage && exit ;;
    --from | --data-root | --split)
      [[ -n ${2:-} ]] || fail "$1 needs a value; see --help" 2
      option=${1#--}
      declare "${option//-/_}=$2"
      shift 2
      ;;
    --move)
      move=yes
      shift
      ;;
    -*) fail "unknown option $1; see --help" 2 ;;
    *)
      wanted+=("$1")
      shift
      ;;
  esac
done
[[ $split =~ ^[A-Za-z0-9_-]+$ ]] || fail "--split $split: not the name of a file in split_csv" 2

from=$(realpath --canonicalize-missing -- "$from")
data_root=$(realpath --canonicalize-missing -- "$data_root")
csv=$from/split_csv/$split.csv
[[ -f $csv ]] ||
  fail "$csv: no such file: run $(dirname -- "$0")/download_VisA.sh first, or give another --from or --split"
plan=$(read_csv) || exit 1
[[ -n $plan ]] || fail "$csv: names no images: restore the file from the archive"
mapfile -t known < <(cut -f 1 <<< "$plan" | awk '!seen[$0]++')
for category in "${wanted[@]}"; do
  [[ " ${known[*]} " == *" $category "* ]] || fail "$category: not a category of $csv; it has ${known[*]}"
done
((${#wanted[@]})) || wanted=("${known[@]}")

attempt 'give another --data-root' mkdir -p -- "$data_root/train" "$data_root/test"
[[ -w $data_root/train && -w $data_root/test ]] || fail "$data_root: may not be written to: give another --data-root"
# Two at once would build in the same folder.
exec 9> "$data_root/train/.VisA.lock"
flock --nonblock 9 || fail "$data_root: another run is arranging VisA there: wait for that one"

partials=()
trap 'rm -rf -- "${partials[@]}"' EXIT
for category in "${wanted[@]}"; do
  arrange "$category"
done
