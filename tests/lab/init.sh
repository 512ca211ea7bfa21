#!/bin/sh
# PID 1 of a board. It has namespaces of its own already; here it gets its own root, devices, network and sshd.
#
# Its standard input is its power: a line says that the network cable is in, the end of input is the end of the board,
# so that nothing of it outlives the tests, however they end.

set -eu
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
: "$BOARD_NAME" "$BOARD_FOLDER" "$BOARD_ADDRESS" "$BOARD_GATEWAY" "$BOARD_DAEMONS"

# The host's system with this board's disk over it: whatever is written here stays here, over power cuts too.
# `xino`: files and folders are on one device, as on a real disk, or `rm --one-file-system` would not enter.
disk=$BOARD_FOLDER
mount -t overlay overlay -o "lowerdir=/,upperdir=$disk/disk,workdir=$disk/work,xino=on" "$disk/root"
cd "$disk/root"
mkdir -p .host
pivot_root . .host
cd /

mount -t proc proc /proc
mount --bind "/.host$disk/hardware/sys" /sys
(cd "/.host$disk/hardware/proc" && find . -type f) | while read -r file; do
    mount --bind "/.host$disk/hardware/proc/$file" "/proc/$file"
done

# What a boot begins empty.
mount -t tmpfs -o mode=755 tmpfs /dev
mkdir /dev/pts /dev/shm /dev/mqueue
mknod -m 666 /dev/null c 1 3
mknod -m 666 /dev/zero c 1 5
mknod -m 666 /dev/full c 1 7
mknod -m 444 /dev/random c 1 8
mknod -m 444 /dev/urandom c 1 9
mknod -m 666 /dev/tty c 5 0
mount -t devpts -o newinstance,mode=620,ptmxmode=666,gid=5 devpts /dev/pts
ln -s pts/ptmx /dev/ptmx
ln -s /proc/self/fd /dev/fd
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t mqueue mqueue /dev/mqueue
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -m 755 /run/sshd /run/user
mkdir -m 1777 /run/lock

umount -l /.host
rmdir /.host

hostname "$BOARD_NAME"
echo built
read -r _
ip -batch - <<END
link set lo up
link set eth0 up
addr add $BOARD_ADDRESS dev eth0
route add default via $BOARD_GATEWAY
END

exec 3<&0 </dev/null
/usr/sbin/sshd -D -E /run/sshd.log &
IFS=,
for daemon in $BOARD_DAEMONS; do
    unset IFS
    $daemon >/dev/null 2>&1 &
done

# `wait` also buries the orphans that come to PID 1.
cat <&3 >/dev/null &
wait $!
