#!/usr/bin/env bash
# Two hosts on one machine: two network namespaces, a veth pair, tbf for the rate of each direction. Needs root on Linux.
#
#   benchmarks/two_hosts.sh [--uplink 8.8mbit] [--downlink 29.1mbit] [--rtt 40ms] [--server 'COMMAND'] [COMMAND ...]
#
# --server runs in the server's namespace and has to listen on $SERVER_HOST:$SERVER_PORT. COMMAND runs in the device's
# namespace and connects to its own $SERVER_HOST:$SERVER_PORT. Without the two, 1 MB goes up and down and is timed.
# Rates are written as tc writes them. The kernel's own delay, netem, is often missing: the delay comes from
# `dnn-partition emulate` in the device's namespace, at a rate far above the link's; --rtt 0 leaves it out.
# PYTHON names the interpreter. Where this cannot run it prints why and exits with 0.
set -u

skip() {
    echo "two_hosts: skipped: $*"
    exit 0
}

refuse() {
    echo "two_hosts: error: $*" >&2
    exit 2
}

uplink=8.8mbit downlink=29.1mbit rtt=40ms server=
while [ $# -gt 0 ]; do
    case $1 in
        --uplink | --downlink | --rtt | --server)
            [ $# -ge 2 ] || refuse "$1 needs a value"
            declare "${1#--}=$2"
            shift 2
            ;;
        --)
            shift
            break
            ;;
        -*) refuse "unknown option '$1'; the options are --uplink, --downlink, --rtt and --server" ;;
        *) break ;;
    esac
done
if [ -n "$server" ] && [ $# -eq 0 ]; then refuse "--server without a COMMAND for the device; give one"; fi
if [ -z "$server" ] && [ $# -gt 0 ]; then refuse "a COMMAND for the device without --server; give one"; fi

[ "$EUID" -eq 0 ] || skip "not root; network namespaces need it"
python=${PYTHON:-python3}
for tool in ip tc "$python"; do
    command -v "$tool" > /dev/null || skip "'$tool' is not installed"
done
"$python" -c 'import partition' 2> /dev/null || refuse "'$python' does not find this project; set PYTHON"

device_space=device-$$ server_space=server-$$
device_host=10.77.0.1 server_host=10.77.0.2 port=9000
started=()
clean() {
    for process in "${started[@]}"; do kill "$process" 2> /dev/null; done
    wait 2> /dev/null
    ip netns del "$device_space" 2> /dev/null
    ip netns del "$server_space" 2> /dev/null
}
trap clean EXIT
trap 'exit 130' INT TERM

reason=$(ip netns add "$device_space" 2>&1 && ip netns add "$server_space" 2>&1) || skip "no network namespaces: $reason"
reason=$(ip -n "$device_space" link add link0 type veth peer name link1 netns "$server_space" 2>&1) \
    || skip "no veth pair: $reason"
set -e
ip -n "$device_space" addr add "$device_host/24" dev link0
ip -n "$server_space" addr add "$server_host/24" dev link1
for place in "$device_space link0" "$server_space link1"; do
    read -r space name <<< "$place"
    ip -n "$space" link set lo up
    ip -n "$space" link set "$name" up
done
set +e
shape() {
    tc -n "$1" qdisc add dev "$2" root tbf rate "$3" burst "${BURST:-32kb}" latency 400ms 2>&1
}
reason=$(shape "$device_space" link0 "$uplink") || skip "tbf refuses the uplink $uplink: $reason"
reason=$(shape "$server_space" link1 "$downlink") || skip "tbf refuses the downlink $downlink: $reason"
echo "two hosts: $uplink up, $downlink down, rtt $rtt; $(uname -sr), congestion control $(cat /proc/sys/net/ipv4/tcp_congestion_control 2> /dev/null)"

on_server=(ip netns exec "$server_space" env SERVER_HOST="$server_host" SERVER_PORT="$port")
if [ -n "$server" ]; then
    "${on_server[@]}" bash -c "exec $server" &
else
    "${on_server[@]}" "$python" -m benchmarks.two_hosts serve &
fi
started+=($!)
listening='
import socket, sys, time
for _ in range(600):
    try:
        socket.create_connection((sys.argv[1], int(sys.argv[2])), 1).close()
        break
    except OSError:
        time.sleep(0.1)
else:
    sys.exit(1)
'
ip netns exec "$server_space" "$python" -c "$listening" "$server_host" "$port" || refuse "the server does not listen after 60 s"

near_host=$server_host
if [ "$rtt" != 0 ]; then
    near_host=127.0.0.1
    ip netns exec "$device_space" "$python" -m partition emulate --listen "$near_host:$port" --to "$server_host:$port" \
        --bandwidth 10Gbps --rtt "$rtt" > /dev/null &
    started+=($!)
    ip netns exec "$device_space" "$python" -c "$listening" "$near_host" "$port" || refuse "the delay does not start"
fi
on_device=(ip netns exec "$device_space" env SERVER_HOST="$near_host" SERVER_PORT="$port")
if [ $# -gt 0 ]; then
    "${on_device[@]}" "$@"
else
    "${on_device[@]}" "$python" -m benchmarks.two_hosts measure "$uplink" "$downlink" "$rtt"
fi
