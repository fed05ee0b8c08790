#!/bin/sh
# A root folder becomes a machine: run by booted.py inside `unshare`, in every namespace but the user's.
#
#     boot.sh ROOT SHARED SOURCE
#
# ROOT is read only, what is written goes to memory above it. SHARED and SOURCE are seen as /srv/shared and,
# read only, /srv/source. Ends as systemd, PID 1.
set -eu
lower=$1 shared=$2 source=$3
work=/mnt

mount --make-rprivate /
mount -t tmpfs -o size=6G,mode=755 box "$work"
mkdir "$work/upper" "$work/work" "$work/root"
mount -t overlay -o "lowerdir=$lower,upperdir=$work/upper,workdir=$work/work" box "$work/root"
cd "$work/root"

mount -t proc -o nosuid,nodev,noexec proc proc
# Read only, or this machine's udevd would look after the real one's devices, and its sysctl after its kernel.
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755,nosuid tmpfs dev
for node in null zero full random urandom tty; do
    touch dev/$node
    mount --bind /dev/$node dev/$node
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs dev/shm
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs run
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs tmp
mkdir -p srv/shared srv/source
mount --bind "$shared" srv/shared
mount --bind "$source" srv/source
mount -o remount,bind,ro srv/source

mkdir old
pivot_root . old
cd /
umount -l /old
# Else a service with a mount namespace of its own sees nothing that is mounted later (LoadCredential= fails).
mount --make-rshared /
hostname robot
echo robot >etc/hostname
echo '127.0.0.1 localhost robot' >etc/hosts
exec env -i container=unshare PATH=/usr/sbin:/usr/bin:/sbin:/bin /sbin/init </dev/null
