#!/bin/sh
# Runs in new PID, mount, cgroup, IPC, UTS and network namespaces, as their first process: installs the Debian package
# over the root file system of this computer, which stays as it is, and becomes systemd, which starts the unit.
# Usage: boot-unit.sh FOLDER PACKAGE, both absolute; FOLDER is empty.
set -e
folder=$1
mount --make-rprivate /
mount -t tmpfs tmpfs "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root"
cp "$2" "$folder/upper/agent.deb"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
cd "$folder/root"
mount -t proc proc proc
mount -t sysfs sysfs sys -o ro
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs tmpfs dev -o mode=755
for name in null zero full random urandom tty; do
  touch "dev/$name"
  mount --bind "/dev/$name" "dev/$name"
done
ln -s /proc/self/fd dev/fd
mkdir dev/shm
ip link set lo up
# Nothing of this computer is started but the unit.
mkdir -p etc/systemd/system/millrace-agent.service.d
printf '[Unit]\nRequires=millrace-agent.service\n' >etc/systemd/system/millrace-test.target
printf '[Service]\nWatchdogSec=6\nRestartSec=1\nEnvironment=MILLRACE_CLOUD=127.0.0.1:9\n' >etc/systemd/system/millrace-agent.service.d/test.conf
chroot . dpkg --force-depends --install agent.deb
exec chroot . env -i container=millrace-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --system --unit=millrace-test.target --log-target=console
