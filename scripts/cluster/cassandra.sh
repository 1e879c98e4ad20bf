#!/usr/bin/env bash
# Real Apache Cassandra (N nodes) on loopback, fetched with the ordinary Maven client.
#
#   cassandra.sh N              fetch if needed, start nodes 1..N (127.0.0.1 .. 127.0.0.N), wait, print contact points
#   cassandra.sh down           stop every node this script started (SIGTERM, then SIGKILL), keep data
#   cassandra.sh wipe           down + remove the data directory
#   cassandra.sh status         pid / RSS / port of each node
#   cassandra.sh kill I         kill -9 node I
#   cassandra.sh start I        start node I again and wait
#   cassandra.sh nodetool I ... run nodetool against node I
#   cassandra.sh fetch          only download
#
# Environment (all optional)
#   MILLRACE_ENGINES download cache        default: ~/.cache/millrace-engines
#   MILLRACE_CLUSTER data, logs, pids      default: ${TMPDIR:-/tmp}/millrace-engines
#   MILLRACE_PLACES  for each node: address, or address@network-namespace    default: 127.0.0.I
#   CASS_VERSION cassandra-all version     default: 5.0.9
#   CASS_HEAP    -Xmx per node             default: 512m
#   CASS_OPTIONS more options of the JVM, for tests; not kept
#   CASS_DIRECT  -XX:MaxDirectMemorySize   default: 256m
#   CASS_PORT    native (CQL) port         default: 9042
#   CASS_STORAGE_PORT internode port       default: 7000
#   CASS_JMX_BASE jmx port = base + node   default: 7190
#   CASS_SYNC    commit log: periodic | batch | group     default: group
#   CASS_AUTO_SNAPSHOT true: a setting that Millrace refuses    default: false
#   CASS_PAXOS   v1 | v2                   default: v2
#   CASS_SECURE  1 = PasswordAuthenticator + CassandraAuthorizer + client TLS (TLS required)
#   CASS_MTLS    1 = with CASS_SECURE, clients must present a certificate of the same CA
#   CASS_INTERNODE_TLS 1 = internode TLS too
#   JAVA_HOME    a Java 17 (or 11); found under /usr/lib/jvm otherwise
set -euo pipefail

NAME=cassandra.sh
MILLRACE_CLUSTER=${MILLRACE_CLUSTER:-${TMPDIR:-/tmp}/millrace-engines}
MILLRACE_ENGINES=${MILLRACE_ENGINES:-$HOME/.cache/millrace-engines}
RUN=$MILLRACE_CLUSTER/cassandra
SEC=$MILLRACE_CLUSTER/security
. "$(dirname "$0")/common.sh"
# Every command works with the settings that the cluster was started with; "N" may change them while no node runs.
settings() { if [ -f "$RUN/settings" ]; then . "$RUN/settings"; fi; }
case ${1:-} in [1-9]*) if any_running; then settings; fi ;; *) settings ;; esac
CASS_VERSION=${CASS_VERSION:-5.0.9}
CASS_HEAP=${CASS_HEAP:-512m}
CASS_DIRECT=${CASS_DIRECT:-256m}
CASS_PORT=${CASS_PORT:-9042}
CASS_STORAGE_PORT=${CASS_STORAGE_PORT:-7000}
CASS_JMX_BASE=${CASS_JMX_BASE:-7190}
CASS_SYNC=${CASS_SYNC:-group}
CASS_PAXOS=${CASS_PAXOS:-v2}
CASS_SECURE=${CASS_SECURE:-0}
CASS_MTLS=${CASS_MTLS:-0}
CASS_INTERNODE_TLS=${CASS_INTERNODE_TLS:-0}
LIB=$MILLRACE_ENGINES/cassandra-$CASS_VERSION/lib
STOREPASS=${MILLRACE_STOREPASS:-changeit}

JH=$(find_java 17 11); JAVA=$JH/bin/java

fetch() { maven "cassandra-all-$CASS_VERSION.jar" "org.apache.cassandra:cassandra-all:$CASS_VERSION"; }

token() { # node, of: the nodes share the ring evenly
  node -e 'const [i, n] = process.argv.slice(1).map(BigInt); console.log(String(((i - 1n) * 2n ** 64n) / n - 2n ** 63n + (i === 1n ? 1n : 0n)))' "$1" "$2"
}

conf() { # node, of
  local i=$1 n=$2 d=$RUN/$1 ip t answer=2000ms
  [ "$n" -gt 1 ] || answer=10000ms
  ip=$(address_of "$i")
  mkdir -p "$d/conf" "$d/log" "$d/data"
  [ -f "$d/token" ] || token "$i" "$n" >"$d/token"
  t=$(cat "$d/token")
  cat >"$d/conf/cassandra.yaml" <<Y
cluster_name: millrace
num_tokens: 1
initial_token: $t
auto_bootstrap: false
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [ { seeds: "$(address_of 1):$CASS_STORAGE_PORT,$(address_of 2):$CASS_STORAGE_PORT" } ]
listen_address: $ip
rpc_address: $ip
storage_port: $CASS_STORAGE_PORT
ssl_storage_port: $((CASS_STORAGE_PORT+1))
native_transport_port: $CASS_PORT
start_native_transport: true
data_file_directories: [ $d/data/sst ]
commitlog_directory: $d/data/commitlog
saved_caches_directory: $d/data/saved_caches
hints_directory: $d/data/hints
cdc_raw_directory: $d/data/cdc_raw
local_system_data_file_directory: $d/data/local_system
commitlog_segment_size: 32MiB
commitlog_total_space: 512MiB
disk_optimization_strategy: ssd
# ---- small machine ----
concurrent_reads: 8
concurrent_writes: 16
concurrent_counter_writes: 4
concurrent_compactors: 1
native_transport_max_threads: 32
memtable_heap_space: 96MiB
memtable_offheap_space: 64MiB
memtable_allocation_type: heap_buffers
memtable_flush_writers: 1
file_cache_size: 32MiB
networking_cache_size: 32MiB
key_cache_size: 8MiB
row_cache_size: 0MiB
counter_cache_size: 4MiB
compaction_throughput: 32MiB/s
column_index_size: 4KiB
# ---- hints / failure detection ----
hinted_handoff_enabled: true
max_hint_window: 3h
hinted_handoff_throttle: 10240KiB
max_hints_delivery_threads: 2
hints_flush_period: 1000ms
phi_convict_threshold: 8
# ---- time-outs (generous where it costs nothing: 2 cores, many JVMs) ----
# While a node is down and the others do not know it, a read of a table that is new, as each epoch's is, waits half of
# the read time-out for it, and a DROP TABLE the write time-out (batch log of its permissions), with all other changes
# of the schema behind it. A single node waits for nobody.
read_request_timeout: $answer
range_request_timeout: 20000ms
write_request_timeout: $answer
counter_write_request_timeout: 10000ms
cas_contention_timeout: 5000ms
truncate_request_timeout: 60000ms
request_timeout: 20000ms
# ---- behaviour ----
auto_snapshot: ${CASS_AUTO_SNAPSHOT:-false}
incremental_backups: false
snapshot_before_compaction: false
paxos_variant: $CASS_PAXOS
storage_compatibility_mode: NONE
materialized_views_enabled: false
user_defined_functions_enabled: false
cdc_enabled: false
Y
  case $CASS_SYNC in
    periodic) printf 'commitlog_sync: periodic\ncommitlog_sync_period: 1000ms\n' ;;
    batch)    printf 'commitlog_sync: batch\n' ;;
    group)    printf 'commitlog_sync: group\ncommitlog_sync_group_window: 5ms\n' ;;
  esac >>"$d/conf/cassandra.yaml"
  if [ "$CASS_SECURE" = 1 ]; then
    make_security
    cat >>"$d/conf/cassandra.yaml" <<Y
authenticator: PasswordAuthenticator
authorizer: CassandraAuthorizer
role_manager: CassandraRoleManager
permissions_validity: 2000ms
roles_validity: 2000ms
credentials_validity: 2000ms
client_encryption_options:
  enabled: true
  optional: false
  keystore: $SEC/node.p12
  keystore_password: $STOREPASS
  store_type: PKCS12
  truststore: $SEC/trust.p12
  truststore_password: $STOREPASS
  require_client_auth: $([ "$CASS_MTLS" = 1 ] && echo true || echo false)
  accepted_protocols: [TLSv1.2, TLSv1.3]
Y
  else
    cat >>"$d/conf/cassandra.yaml" <<Y
authenticator: AllowAllAuthenticator
authorizer: AllowAllAuthorizer
Y
  fi
  if [ "$CASS_INTERNODE_TLS" = 1 ]; then
    make_security
    cat >>"$d/conf/cassandra.yaml" <<Y
server_encryption_options:
  internode_encryption: all
  optional: false
  legacy_ssl_storage_port_enabled: false
  keystore: $SEC/node.p12
  keystore_password: $STOREPASS
  store_type: PKCS12
  truststore: $SEC/trust.p12
  truststore_password: $STOREPASS
  require_client_auth: true
  require_endpoint_verification: true
  accepted_protocols: [TLSv1.2, TLSv1.3]
Y
  fi
  cat >"$d/conf/logback.xml" <<'X'
<configuration scan="false">
  <appender name="F" class="ch.qos.logback.core.rolling.RollingFileAppender">
    <file>${cassandra.logdir}/system.log</file>
    <rollingPolicy class="ch.qos.logback.core.rolling.FixedWindowRollingPolicy">
      <fileNamePattern>${cassandra.logdir}/system.log.%i</fileNamePattern><minIndex>1</minIndex><maxIndex>2</maxIndex>
    </rollingPolicy>
    <triggeringPolicy class="ch.qos.logback.core.rolling.SizeBasedTriggeringPolicy"><maxFileSize>10MB</maxFileSize></triggeringPolicy>
    <encoder><pattern>%-5level [%thread] %date{ISO8601} %F:%L - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="F"/></root>
  <logger name="org.apache.cassandra" level="INFO"/>
</configuration>
X
  echo 'dc=dc1
rack=r1' >"$d/conf/cassandra-rackdc.properties"
}

OPENS=()
for e in java.base/jdk.internal.misc java.management.rmi/com.sun.jmx.remote.internal.rmi java.rmi/sun.rmi.registry \
  java.rmi/sun.rmi.server java.sql/java.sql java.base/java.lang.ref jdk.unsupported/sun.misc \
  jdk.compiler/com.sun.tools.javac.file jdk.attach/sun.tools.attach java.base/jdk.internal.ref java.base/sun.nio.ch; do
  OPENS+=(--add-exports "$e=ALL-UNNAMED"); done
for e in java.base/java.lang.module java.base/jdk.internal.loader java.base/jdk.internal.ref java.base/jdk.internal.reflect \
  java.base/jdk.internal.math java.base/jdk.internal.module java.base/jdk.internal.util.jar jdk.management/com.sun.management.internal \
  java.base/sun.nio.ch java.base/java.io java.base/java.lang.reflect jdk.compiler/com.sun.tools.javac java.base/java.lang \
  java.base/java.util java.base/java.nio java.base/java.util.concurrent java.base/java.util.concurrent.atomic java.base/java.net; do
  OPENS+=(--add-opens "$e=ALL-UNNAMED"); done

launch() { # node
  local i=$1 d=$RUN/$1
  local cp="$d/conf:$LIB/*"
  (
    cd "$d"
    # nothing of the caller's terminal, no proxy variables, its own session: only the pid file knows it
    # LC_ALL: the daemon refuses nothing, but snappy/jna like a plain locale
    exec $(within "$i") setsid nohup env -u JAVA_TOOL_OPTIONS -u http_proxy -u https_proxy "$JAVA" \
      ${CASS_OPTIONS:-} -Xms"$CASS_HEAP" -Xmx"$CASS_HEAP" -Xss512k -XX:MaxDirectMemorySize="$CASS_DIRECT" -XX:+UseSerialGC \
      -XX:ReservedCodeCacheSize=96m -XX:MaxMetaspaceSize=192m \
      -XX:+PerfDisableSharedMem -XX:+ExitOnOutOfMemoryError -XX:-UsePerfData -XX:+UseThreadPriorities \
      -XX:ActiveProcessorCount="${CASS_CPUS:-2}" \
      -Djava.net.preferIPv4Stack=true -Djdk.attach.allowAttachSelf=true -Dfile.encoding=UTF-8 \
      -Dio.netty.tryReflectionSetAccessible=true -Dio.netty.allocator.useCacheForAllThreads=true -Dio.netty.allocator.maxOrder=11 \
      -Dio.netty.eventLoopThreads=4 \
      -Djava.io.tmpdir="$d/tmp" -Djna.tmpdir="$d/tmp" -Dchronicle.analytics.disable=true -Dchronicle.announcer.disable=true \
      -Dsun.nio.PageAlignDirectMemory=true \
      "${OPENS[@]}" -javaagent:"$LIB/jamm-0.4.0.jar" \
      -Dcassandra.config="file://$d/conf/cassandra.yaml" -Dcassandra.logdir="$d/log" -Dcassandra.storagedir="$d/data" \
      -Dlogback.configurationFile="$d/conf/logback.xml" -Dcassandra-foreground=yes \
      -Dcassandra.jmx.local.port=$((CASS_JMX_BASE+i)) \
      -Dcassandra.migration_delay_ms=2000 -Dcassandra.ring_delay_ms=2000 -Dcassandra.skip_wait_for_gossip_to_settle=0 -Dcassandra.superuser_setup_delay_ms=1000 \
      -Dcassandra.system_auth.default_rf="${CASS_SYSTEM_RF:-3}" -Dcassandra.system_distributed.default_rf=1 -Dcassandra.system_traces.default_rf=1 \
      -Dcassandra.available_processors="${CASS_CPUS:-2}" \
      ${CASS_JVM_EXTRA:-} -cp "$cp" org.apache.cassandra.service.CassandraDaemon >"$d/log/out.log" 2>&1 </dev/null
  ) &
  local p=$!
  disown "$p" 2>/dev/null || true
  remember "$p" "$d/pid"
}

save() { ( umask 077; for v in CASS_VERSION MILLRACE_ENGINES CASS_HEAP CASS_DIRECT CASS_PORT CASS_STORAGE_PORT CASS_JMX_BASE CASS_SYNC CASS_PAXOS CASS_SECURE CASS_MTLS CASS_INTERNODE_TLS CASS_SYSTEM_RF MILLRACE_PLACES; do printf '%s=%q\n' "$v" "${!v:-}"; done >"$RUN/settings" ); }
wait_ready() { # node
  local i=$1 t0=$SECONDS
  until port_open "$(address_of "$i")" "$CASS_PORT" && grep -q 'Starting listening for CQL clients\|Startup complete' "$RUN/$i/log/system.log" 2>/dev/null; do
    alive "$i" || { tail -25 "$RUN/$i/log/out.log" >&2; die "node $i died while starting"; }
    [ $((SECONDS-t0)) -lt "${CASS_WAIT:-180}" ] || die "node $i not ready after ${CASS_WAIT:-180} s"
    sleep 0.3
  done
}

# The first start makes the role that logs in, a second after a majority of the nodes is ready.
wait_role() {
  local t0=$SECONDS
  [ "$CASS_SECURE" = 1 ] && [ ! -f "$RUN/role" ] || return 0
  until grep -q 'Created default superuser role' "$RUN"/*/log/system.log; do
    [ $((SECONDS-t0)) -lt "${CASS_WAIT:-180}" ] || die 'the role cassandra was not made'
    sleep 0.2
  done
  touch "$RUN/role"
}

wait_gossip() { # every node must see every other one as up, else the first DDL statements fail
  local n=$1 i t0=$SECONDS
  for i in $(seq 1 "$n"); do
    until [ "$(nodetool "$i" status 2>/dev/null | grep -c '^UN ')" -ge "$n" ]; do
      [ $((SECONDS-t0)) -lt 90 ] || die "node $i does not see all $n nodes"
      sleep 0.5
    done
  done
}

start_one() { # node, of
  alive "$1" && return
  mkdir -p "$RUN/$1/tmp" "$RUN/$1/log"
  conf "$1" "$2"
  : >"$RUN/$1/log/system.log"
  launch "$1"
}

nodetool() { # node, args
  local i=$1; shift
  $(within "$i") "$JAVA" -Xmx96m -XX:TieredStopAtLevel=1 -Djava.net.preferIPv4Stack=true "${OPENS[@]}" -Dcom.sun.jndi.rmiURLParsing=legacy \
    -Dlogback.configurationFile="$RUN/$i/conf/logback.xml" -Dcassandra.logdir="$RUN/$i/log" -Dcassandra.config="file://$RUN/$i/conf/cassandra.yaml" \
    -cp "$RUN/$i/conf:$LIB/*" org.apache.cassandra.tools.NodeTool -h 127.0.0.1 -p $((CASS_JMX_BASE+i)) "$@"
}

nodes() { ls "$RUN" 2>/dev/null | grep -E '^[0-9]+$' | sort -n || true; }

case ${1:-} in
  fetch) fetch; du -sh "$LIB" | cut -f1 ;;
  down|wipe)
    for i in $(nodes); do alive "$i" && kill -TERM "$(pid_of "$i")" || true; done
    for i in $(nodes); do
      t0=$SECONDS
      while alive "$i"; do
        [ $((SECONDS-t0)) -lt 40 ] || kill -KILL "$(pid_of "$i")" || true
        sleep 0.2
      done
      rm -f "$RUN/$i/pid"
    done
    [ "$1" = wipe ] && rm -rf "$RUN"
    echo "cassandra: down" ;;
  status)
    for i in $(nodes); do
      if alive "$i"; then p=$(pid_of "$i"); echo "node $i $(address_of "$i"):$CASS_PORT pid $p rss $(awk '/VmRSS/{printf "%d MB",$2/1024}' /proc/$p/status) threads $(awk '/Threads/{print $2}' /proc/$p/status)"
      else echo "node $i down"; fi
    done ;;
  kill) alive "$2" && kill -KILL "$(pid_of "$2")"; sleep 0.2; echo "node $2 killed" ;;
  start) n=$(nodes | wc -l); t0=$(date +%s.%N); start_one "$2" "$n"; wait_ready "$2"; echo "node $2 up after $(echo "$(date +%s.%N)-$t0" | bc 2>/dev/null || true) s" ;;
  nodetool) shift; nodetool "$@" ;;
  [1-9]*)
    n=$1; fetch; mkdir -p "$RUN"; CASS_SYSTEM_RF=${CASS_SYSTEM_RF:-$(( n<3 ? n : 3 ))}; save; t0=$(date +%s%N)
    # the first node alone: it makes the system tables and is the seed; the others together
    start_one 1 "$n"; wait_ready 1
    for i in $(seq 2 "$n"); do start_one "$i" "$n"; if [ "${CASS_PARALLEL:-0}" != 1 ]; then wait_ready "$i"; fi; done
    for i in $(seq 2 "$n"); do wait_ready "$i"; done
    wait_role
    if [ "$n" -gt 1 ]; then wait_gossip "$n"; fi
    echo "ready_ms=$(( ($(date +%s%N)-t0)/1000000 ))"
    echo "contact_points=$(for i in $(seq 1 "$n"); do printf '%s%s' "$([ "$i" -gt 1 ] && echo ,)" "$(address_of "$i")"; done)"
    echo "port=$CASS_PORT"
    echo "local_datacenter=datacenter1"
    if [ "$CASS_SECURE" = 1 ]; then echo "username=cassandra password=cassandra (change it) ca=$SEC/ca.pem"; fi ;;
  *) sed -n '2,13p' "$0"; exit 2 ;;
esac
