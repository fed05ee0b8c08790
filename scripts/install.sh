#!/usr/bin/env bash
# Install edge_wam as a service, or upgrade it; run it again at any time, whatever happened to it before.
#
#     sudo scripts/install.sh                  from this folder; packages from the usual index
#     sudo PIP_EXTRA_INDEX_URL=... scripts/install.sh        a Jetson: NVIDIA's index of Jetson wheels beside it
#     sudo scripts/install.sh --wheels DIR     without a network: edge_wam's wheel and all others lie in DIR
#     sudo scripts/install.sh --rollback       back to the version before
#     sudo scripts/install.sh --uninstall      settings (/etc/edge-wam) and state (/var/lib/edge-wam) stay
#
# A new version is built beside the old one and becomes it by the renaming of one link, at the very end: whatever
# kills this script leaves the old version, or none. Then:
#
#     sudo systemctl start edge-wam
#
# Several robots: each has its settings in /etc/edge-wam/NAME.toml, and is started by
#
#     sudo systemctl start edge-wam@NAME
#
# EDGE_WAM_ROOT=DIR installs into another root folder (an image) and starts nothing; EXTRAS chooses packages.
set -euo pipefail
HERE=$(cd "$(dirname "$0")/.." && pwd)
ROOT=${EDGE_WAM_ROOT:-}
PYTHON=${PYTHON:-python3}
OPT=$ROOT/opt/edge-wam ETC=$ROOT/etc/edge-wam
FILES=$HERE/edge_wam/service/files
UNIT=$ROOT/etc/systemd/system/edge-wam.service
COMPANIONS="edge-wam-web edge-wam-record" # the page and the recorder: there, and off until they are wanted
TEMPLATE=$ROOT/etc/systemd/system/edge-wam@.service
RULES=$ROOT/etc/udev/rules.d/61-edge-wam.rules
SYSUSERS=$ROOT/usr/lib/sysusers.d/edge-wam.conf TMPFILES=$ROOT/usr/lib/tmpfiles.d/edge-wam.conf
say() { echo "install: $*"; }
die() { echo "install: $*" >&2; exit 2; }
live() { [ -z "$ROOT" ] && [ -d /run/systemd/system ]; } # is this the machine that runs?

WHEELS="" WAY=install
while [ $# -gt 0 ]; do
    case $1 in
        --wheels) WHEELS=${2:-}; [ -d "$WHEELS" ] || die "--wheels: expected a folder, found '$WHEELS'"; shift ;;
        --rollback) WAY=rollback ;;
        --uninstall) WAY=uninstall ;;
        *) die "expected --wheels DIR, --rollback or --uninstall, found '$1'" ;;
    esac
    shift
done
[ -n "$ROOT" ] || [ "$(id -u)" = 0 ] || die "only root can install a service; try: sudo $0"

whole() { # every version that was installed to its end, oldest first
    local path
    for path in "$OPT"/venv-*; do [ ! -e "$path/.whole" ] || basename "$path"; done
}
switch() { # make version $1 the one that runs
    ln -sfn "$1" "$OPT/.venv.new"
    mv -T "$OPT/.venv.new" "$OPT/venv"
}
robots() { # the units of the robots beside the first
    local path
    for path in "$ETC"/*.toml; do
        case $(basename "$path" .toml) in config | '*') ;; *) echo "edge-wam@$(basename "$path" .toml)" ;; esac
    done
}
reload() {
    live || return 0
    systemctl daemon-reload
    udevadm control --reload && udevadm trigger --subsystem-match=tty || true
}

if [ "$WAY" = uninstall ]; then
    if live; then systemctl disable --now $COMPANIONS edge-wam $(robots) || true; fi
    rm -rf "$OPT"
    for unit in $COMPANIONS; do rm -f "$(dirname "$UNIT")/$unit.service"; done
    rm -f "$UNIT" "$TEMPLATE" "$RULES" "$SYSUSERS" "$TMPFILES" "$ETC/web-token"
    reload
    say "removed; $ETC and ${ROOT}/var/lib/edge-wam are still there"
    exit 0
fi

if [ "$WAY" = rollback ]; then
    now=$(readlink "$OPT/venv" || true)
    before=$(whole | grep -vx "$now" | tail -1 || true)
    [ -n "$before" ] || die "there is no version before $now"
    switch "$before"
    if live; then systemctl try-restart edge-wam $(robots) $COMPANIONS; fi
    say "$now -> $before"
    exit 0
fi

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || die "expected Python 3.10 or newer; try: PYTHON=python3.10 $0"
extras=${EXTRAS:-sim,voice,calibrate,record,web} site=()
if [ -e "$ROOT/etc/nv_tegra_release" ]; then # JetPack 6 or 7: setup.py tells them apart by their Python
    extras=${EXTRAS:-jetson,voice,calibrate,record,web}
    site=(--system-site-packages) # TensorRT is the system's own
fi

mkdir -p "$OPT" "$ETC"
for path in "$OPT"/venv-*; do # what an interrupted run has left
    [ -e "$path/.whole" ] || rm -rf "$path"
done
version=venv-$(date +%Y%m%d-%H%M%S)
while [ -e "$OPT/$version" ]; do version=$version+; done
new=$OPT/$version
say "building $new ($extras)"
"$PYTHON" -m venv "$new" ${site[@]+"${site[@]}"}
if [ -n "$WHEELS" ]; then
    wheel=$(ls -t "$WHEELS"/edge_wam-*.whl 2>/dev/null | head -1 || true)
    [ -n "$wheel" ] || die "no edge_wam-*.whl in $WHEELS; try: pip wheel '$HERE[$extras]' -w $WHEELS"
    "$new/bin/python" -m pip install --quiet --no-index --find-links "$WHEELS" "$wheel[$extras]"
else
    "$new/bin/python" -m pip install --quiet --upgrade 'pip>=24'
    # Building leaves folders behind: in a copy, for this one may be somebody's, or read only.
    mkdir "$new/source"
    for name in setup.py pyproject.toml README.md LICENSE edge_wam; do cp -r "$HERE/$name" "$new/source/"; done
    "$new/bin/python" -m pip install --quiet "$new/source[$extras]"
    rm -rf "$new/source"
fi
mkdir -p "$new/share/edge-wam"
cp -r "$HERE/models" "$HERE/calibration" "$new/share/edge-wam/"
[ -x "$new/bin/edge-wam" ] && [ -x "$new/bin/edge-wam-safe-stop" ] || die "$new has no edge-wam; was the wheel another package's?"

install -D -m 644 "$FILES/edge-wam.sysusers" "$SYSUSERS"
install -D -m 644 "$FILES/edge-wam.tmpfiles" "$TMPFILES" # an image that was never installed on has its folder at boot
install -D -m 644 "$FILES/61-edge-wam.rules" "$RULES"
rm -f "$(dirname "$RULES")/60-edge-wam.rules" # its name until 2026-11-29: before the serial number was known
install -D -m 644 "$FILES/edge-wam.service" "$UNIT"
for unit in $COMPANIONS; do install -m 644 "$FILES/$unit.service" "$(dirname "$UNIT")/"; done
# The same for a robot by name: its settings, and the name by which others ask for it.
sed -e '/^Description=/s/$/ (%i)/' -e 's#/etc/edge-wam/config\.toml#/etc/edge-wam/%i.toml#' \
    -e '/^ExecStart=/s/$/ --set robot.name=%i/' "$FILES/edge-wam.service" >"$TEMPLATE"
if [ ! -e "$ETC/config.toml" ]; then
    install -D -m 644 "$FILES/config.toml" "$ETC/config.toml"
    say "wrote $ETC/config.toml: a simulated robot; name your arm and cameras there"
fi
[ -s "$ETC/web-token" ] || (umask 077 && "$PYTHON" -c 'import secrets; print(secrets.token_urlsafe(24))' >"$ETC/web-token") # the page's
if command -v systemd-sysusers >/dev/null; then systemd-sysusers ${ROOT:+--root="$ROOT"} edge-wam.conf; fi

touch "$new/.whole"
sync "$new/.whole" 2>/dev/null || true
before=$(readlink "$OPT/venv" || true)
switch "$version"
for path in "$OPT"/venv-*; do # the one before stays, for --rollback
    case $(basename "$path") in "$version" | "$before") ;; *) rm -rf "$path" ;; esac
done
reload
say "installed $version${before:+ (before: $before)}"

if live; then
    systemctl enable edge-wam
    systemd-tmpfiles --create edge-wam.conf
    as=(runuser -u edge-wam -- env EDGE_WAM_HOME="$OPT/venv/share/edge-wam" EDGE_WAM_STATE=/var/lib/edge-wam)
    "${as[@]}" "$OPT/venv/bin/edge-wam" compile --config "$ETC/config.toml" || say "no engine was compiled; the graphs run as they are"
    "${as[@]}" "$OPT/venv/bin/edge-wam" doctor --config "$ETC/config.toml" || true
    systemctl try-restart edge-wam $(robots) $COMPANIONS
    say "now: sudo systemctl start edge-wam"
fi
