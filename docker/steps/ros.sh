#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
# Install ROS 2 from packages.ros.org on an image that has none: ros.sh humble|jazzy|kilted
set -euo pipefail

fail() {
  echo "error: $1" >&2
  exit 1
}

distribution=${1:?which ROS 2}
# shellcheck disable=SC1090,SC1091
codename=$(. "${OS_RELEASE:-/etc/os-release}" && echo "${VERSION_CODENAME:-none}")
case $distribution in
  humble) expected=jammy ;;
  jazzy | kilted) expected=noble ;;
  *) fail "ROS 2 $distribution is not known here: humble, jazzy or kilted" ;;
esac
[[ $codename == "$expected" ]] ||
  fail "ROS 2 $distribution is made for Ubuntu $expected, the base image is $codename: take another BASE_IMAGE or ROS_DISTRO"

export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install --yes --no-install-recommends ca-certificates curl gnupg

# The key is whoever's has this fingerprint, wherever the file comes from.
fingerprint=C1CF6E31E6BADE8868B172B4F42ED6FBAB17C654
key=$(mktemp)
curl --fail --silent --show-error --location --retry 3 --output "$key" \
  https://raw.githubusercontent.com/ros/rosdistro/master/ros.key
found=$(gpg --show-keys --with-colons "$key" | awk -F: '$1 == "pub" { main = 1 } $1 == "fpr" && main { print $10; main = 0 }')
[[ $found == "$fingerprint" ]] || fail "the key of packages.ros.org is $found, expected $fingerprint"
gpg --dearmor --output /usr/share/keyrings/ros.gpg "$key"
rm "$key"
echo "deb [arch=$(dpkg --print-architecture) signed-by=/usr/share/keyrings/ros.gpg] http://packages.ros.org/ros2/ubuntu $codename main" \
  > /etc/apt/sources.list.d/ros2.list

# cv_bridge is linked against Ubuntu's OpenCV, whose files JetPack's own packages would overwrite.
cat > /etc/apt/preferences.d/opencv <<'PREFERENCES'
Package: *opencv*
Pin: origin repo.download.nvidia.com
Pin-Priority: -1
PREFERENCES
mapfile -t opencv < <(dpkg-query --show --showformat '${db:Status-Abbrev} ${Package}\n' '*opencv*' 2>/dev/null | sed -n 's/^ii  *//p')
((${#opencv[@]} == 0)) || apt-get purge --yes "${opencv[@]}"

apt-get update
apt-get install --yes --no-install-recommends "ros-$distribution-ros-base"
rm -rf /var/lib/apt/lists/*
