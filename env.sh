# shellcheck shell=sh
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
#
# The environment `make setup` made, for this shell:  . ./env.sh
# In bash and zsh from any folder, in other shells from inside the checkout.

# An entry of the colon list $1 that belongs to a ROS sourced earlier (another distribution, another checkout) is
# dropped: libraries and Python modules of two of them in one process crash it. /usr is Debian's own ROS and stays.
_adet_without_ros() {
  printf '%s' "$1" | awk -v RS=: -v prefixes="/opt/ros:${AMENT_PREFIX_PATH:-}" '
    BEGIN { n = split(prefixes, prefix, ":") }
    {
      for (i = 1; i <= n; i++)
        if (prefix[i] !~ /^(\/usr(\/local)?|\/)?$/ && index($0 "/", prefix[i] "/") == 1) next
      printf "%s%s", separator, $0
      separator = ":"
    }'
}

# Sets _adet_root, the folder of this file: its physical path, which is what the environment was made with.
_adet_find_root() {
  if [ -n "${BASH_VERSION:-}" ]; then
    # shellcheck disable=SC3028,SC3054,SC2128  # only bash gets here
    _adet_root=$(dirname -- "$BASH_SOURCE")
  elif [ -n "${ZSH_VERSION:-}" ]; then
    # Other shells cannot parse this.
    eval '_adet_root=${${(%):-%x}:h}'
  else
    _adet_root=$PWD
    until [ -d "$_adet_root/ros2_ws/src/adet_interfaces" ] || [ "$_adet_root" = / ]; do
      _adet_root=$(dirname -- "$_adet_root")
    done
  fi
  _adet_root=$(CDPATH='' cd -- "$_adet_root" && pwd -P)
}

_adet_enter() {
  PATH=$(_adet_without_ros "$PATH")
  LD_LIBRARY_PATH=$(_adet_without_ros "${LD_LIBRARY_PATH:-}")
  unset AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH PYTHONPATH PYTHONHOME \
    ROS_DISTRO ROS_PYTHON_VERSION ROS_VERSION
  # shellcheck disable=SC1091
  . "$_adet_root/.venv/bin/activate"

  # The ROS wheels need these libraries on the path when a process starts. Without this their start-up hook sets it
  # and starts every Python process a second time; the second variable tells the hook that there is nothing to do.
  _adet_libraries=$_adet_root/.venv/lib
  for _adet_folder in "$_adet_root"/.venv/lib/python3*/site-packages/ros_*.libs; do
    _adet_libraries=$_adet_libraries:$_adet_folder
  done
  export LD_LIBRARY_PATH="$_adet_libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1

  # Fast DDS is the only middleware the wheels hold, whatever the user's other ROS prefers.
  export RMW_IMPLEMENTATION=rmw_fastrtps_cpp
  export AMENT_PREFIX_PATH="$_adet_root/.venv" CMAKE_PREFIX_PATH="$_adet_root/.venv"
  if [ -n "${ZSH_VERSION:-}" ]; then
    # shellcheck disable=SC2016  # expanded in there
    emulate sh -c '. "$_adet_root/ros2_ws/install/local_setup.sh"'
  else
    # shellcheck disable=SC1091
    . "$_adet_root/ros2_ws/install/local_setup.sh"
  fi
}

# The scripts sourced here read variables that may not be set.
case $- in *u*) _adet_restore='set -u' ;; *) _adet_restore=: ;; esac
set +u
_adet_find_root
if [ "$(cat "$_adet_root/.venv/.installed" 2>/dev/null)" = "$_adet_root" ] &&
  [ -f "$_adet_root/ros2_ws/install/.built" ]; then
  _adet_enter
  _adet_status=0
else
  _adet_status=1
  if [ "$_adet_root" = / ]; then
    echo 'error: this shell does not tell where env.sh lies: change to the checkout, then: . ./env.sh' >&2
  else
    echo "error: adet is not set up here: run \`make setup\` in $_adet_root" >&2
  fi
fi
$_adet_restore
unset -f _adet_without_ros _adet_find_root _adet_enter
unset _adet_root _adet_libraries _adet_folder _adet_restore
return $_adet_status
