#!/bin/sh
# Both ends of a USB cable: a bus adapter as a gadget, plugged into this machine's own (dummy) host controller.
#
#     cable.sh make NAME PRODUCT SERIAL     an adapter of QinHeng's (1a86), not plugged in yet; its far end is a ttyGS
#     cable.sh plug NAME | unplug NAME
set -eu
gadgets=/sys/kernel/config/usb_gadget what=$1 name=$2
case $what in
    make)
        modprobe -a dummy_hcd libcomposite
        mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
        mkdir "$gadgets/$name" && cd "$gadgets/$name"
        echo 0x1a86 >idVendor
        echo "$3" >idProduct
        mkdir strings/0x409 configs/c.1 functions/acm.0
        echo "$4" >strings/0x409/serialnumber
        echo "USB Single Serial" >strings/0x409/product
        ln -s functions/acm.0 configs/c.1/
        ;;
    plug) ls /sys/class/udc | head -n 1 >"$gadgets/$name/UDC" ;;
    unplug) echo '' >"$gadgets/$name/UDC" ;;
esac
