#!/usr/bin/env bash
# Send UDP packets of random flows with the kernel's pktgen, from one thread or
# several, and tell the rate.
#
# usage: pktgen.sh -i IF -m MAC [options]        (root; module pktgen)
#   -i IF      interface to send on
#   -m MAC     address of the gateway's interface
#   -d ADDR    destination (default 20.0.0.1)
#   -s ADDR    first source address (default 192.168.0.0)
#   -n FLOWS   about as many flows, 63 ports a source address (default 64512)
#   -l BYTES   length of a frame, FCS included (default 64)
#   -t N       threads, each on a queue of its own (default 1)
#   -c CPU     of the first thread; the others follow (default 0)
#   -r PPS     packets a second, all threads together; 0 = as many as possible (default 0)
#   -w SEC     seconds to send (default 60)
#   -q         send the flows in turn and not at random
#   -x         print what would be written to /proc/net/pktgen and do nothing
set -euo pipefail

readonly pg=/proc/net/pktgen ports_per_host=63 first_port=1024 fcs=4

usage() { sed -n '/^# usage:/,/^set -euo/{/^set/d;s/^# \{0,1\}//;p;}' "$0" >&2; exit 2; }
fail() { echo "pktgen: $*" >&2; exit 1; }

interface='' mac='' destination=20.0.0.1 source=192.168.0.0 flows=64512
length=64 threads=1 cpu=0 rate=0 seconds=60 order=random dry=''
while getopts i:m:d:s:n:l:t:c:r:w:qx option; do
	case $option in
	i) interface=$OPTARG ;;
	m) mac=$OPTARG ;;
	d) destination=$OPTARG ;;
	s) source=$OPTARG ;;
	n) flows=$OPTARG ;;
	l) length=$OPTARG ;;
	t) threads=$OPTARG ;;
	c) cpu=$OPTARG ;;
	r) rate=$OPTARG ;;
	w) seconds=$OPTARG ;;
	q) order=sequence ;;
	x) dry=1 ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
if [ $# != 0 ] || [ -z "$interface" ] || [ -z "$mac" ]; then usage; fi
for number in "$flows" "$length" "$threads" "$cpu" "$rate" "$seconds"; do
	[[ $number =~ ^[0-9]+$ ]] || fail "'$number' is not a number"
done
[ "$threads" -ge 1 ] || fail "no thread: -t needs 1 or more"
[ "$length" -ge 64 ] || fail "frames of $length bytes: Ethernet has at least 64"
[ "$flows" -ge 1 ] || fail "no flow: -n needs 1 or more"

# to_number ADDR prints an IPv4 address as a number, to_address the other way.
to_number() {
	local a b c d part
	IFS=. read -r a b c d <<<"$1"
	for part in "$a" "$b" "$c" "$d"; do
		if ! [[ $part =~ ^[0-9]{1,3}$ ]] || [ "$part" -gt 255 ]; then fail "'$1' is not an IPv4 address"; fi
	done
	echo $(((a << 24) + (b << 16) + (c << 8) + d))
}
to_address() { echo "$(($1 >> 24 & 255)).$(($1 >> 16 & 255)).$(($1 >> 8 & 255)).$(($1 & 255))"; }

# write FILE COMMAND gives pktgen a command. The write fails, or the file says
# afterwards that the result is not OK, if pktgen does not understand.
write() {
	if [ -n "$dry" ]; then
		echo "$1: $2"
		return
	fi
	if ! echo "$2" >"$pg/$1" || ! grep -q '^Result: OK' "$pg/$1"; then fail "$pg/$1 refuses '$2'"; fi
}

# setup_thread N makes thread N send its share of the hosts.
setup_thread() {
	local n=$1 device first last
	device=$interface@$n
	first=$((source_number + hosts * n / threads))
	last=$((source_number + hosts * (n + 1) / threads - 1))
	if [ "$last" -lt "$first" ]; then last=$first; fi
	write "kpktgend_$((cpu + n))" rem_device_all
	write "kpktgend_$((cpu + n))" "add_device $device"
	write "$device" "count 0"
	write "$device" "clone_skb 0" # a clone would be a packet of the same flow
	write "$device" "pkt_size $((length - fcs))"
	write "$device" "delay 0"
	if [ "$rate" != 0 ]; then write "$device" "ratep $((rate / threads))"; fi
	write "$device" "dst_mac $mac"
	write "$device" "dst $destination"
	write "$device" "src_min $(to_address $first)"
	write "$device" "src_max $(to_address $last)"
	write "$device" "udp_src_min $first_port"
	write "$device" "udp_src_max $((first_port + ports_per_host))" # exclusive
	write "$device" "udp_dst_min 53"
	write "$device" "udp_dst_max 53"
	write "$device" "queue_map_min $n"
	write "$device" "queue_map_max $n"
	write "$device" "flag UDPCSUM"
	if [ "$order" = random ]; then
		write "$device" "flag IPSRC_RND"
		write "$device" "flag UDPSRC_RND"
	fi
}

# report prints what each thread sent, and the sum.
report() {
	local n text pps total=0
	for ((n = 0; n < threads; n++)); do
		text=$(cat "$pg/$interface@$n")
		pps=$(sed -n 's/^ *\([0-9]*\)pps .*/\1/p' <<<"$text" | tail -n 1)
		printf 'thread %d on CPU %d: %s packets/s\n' "$n" $((cpu + n)) "${pps:-unknown}"
		total=$((total + ${pps:-0}))
		sed -n 's/^.*errors: \([1-9][0-9]*\).*/  errors: \1/p' <<<"$text"
	done
	printf 'all: %d packets/s\n' "$total"
}

source_number=$(to_number "$source")
to_number "$destination" >/dev/null
hosts=$(((flows + ports_per_host - 1) / ports_per_host))

if [ -z "$dry" ]; then
	[ "$(id -u)" = 0 ] || fail "needs root"
	if [ ! -d $pg ]; then modprobe pktgen 2>/dev/null || fail "this kernel has no pktgen (CONFIG_NET_PKTGEN)"; fi
	[ -e "/sys/class/net/$interface" ] || fail "no interface $interface"
fi
for ((n = 0; n < threads; n++)); do setup_thread "$n"; done
if [ -n "$dry" ]; then exit 0; fi

# The start returns when all threads have ended; stop ends them.
echo start >"$pg/pgctrl" &
starter=$!
stop() { echo stop >"$pg/pgctrl"; }
trap 'stop; wait "$starter" || true; exit 1' INT TERM
sleep "$seconds"
stop
wait "$starter"
report
for ((n = 0; n < threads; n++)); do write "kpktgend_$((cpu + n))" rem_device_all; done
