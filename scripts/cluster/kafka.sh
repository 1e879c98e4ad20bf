#!/usr/bin/env bash
# Real Apache Kafka (KRaft, N combined broker+controller nodes) on loopback, fetched with the ordinary Maven client.
#
#   kafka.sh N              fetch if needed, format, start nodes 1..N, wait, print bootstrap servers
#   kafka.sh down           stop every node this script started, keep data
#   kafka.sh wipe           down + remove the data directory
#   kafka.sh status         pid / RSS / port of each node
#   kafka.sh kill I         kill -9 node I
#   kafka.sh start I        start node I again and wait
#   kafka.sh fetch          only download
#
# Environment (all optional)
#   MILLRACE_ENGINES download cache        default: ~/.cache/millrace-engines
#   MILLRACE_CLUSTER data, logs, pids      default: ${TMPDIR:-/tmp}/millrace-engines
#   MILLRACE_PLACES  for each node: address, or address@network-namespace    default: 127.0.0.1
#   KAFKA_VERSION kafka_2.13 version       default: 4.3.1
#   KAFKA_HEAP    -Xmx per node            default: 320m
#   KAFKA_PORT    client port of node 1    default: 19092 (node I: +I-1); controllers: +100
#   KAFKA_SESSION_MS broker.session.timeout.ms  default: 4000 (a killed broker is noticed after this)
#   KAFKA_SECURE  1 = SASL_SSL clients (SCRAM-SHA-512, KAFKA_PASSWORD; user kafka may do everything, control nothing
#                 until it is allowed to), TLS between brokers, ACLs on
#   KAFKA_MTLS    1 = with KAFKA_SECURE, clients must show a certificate too
#   JAVA_HOME     a Java >= 17; found under /usr/lib/jvm otherwise
set -euo pipefail

NAME=kafka.sh
MILLRACE_CLUSTER=${MILLRACE_CLUSTER:-${TMPDIR:-/tmp}/millrace-engines}
MILLRACE_ENGINES=${MILLRACE_ENGINES:-$HOME/.cache/millrace-engines}
RUN=$MILLRACE_CLUSTER/kafka
SEC=$MILLRACE_CLUSTER/security
. "$(dirname "$0")/common.sh"
# Every command works with the settings that the cluster was started with; "N" may change them while no node runs.
settings() { if [ -f "$RUN/settings" ]; then . "$RUN/settings"; fi; }
case ${1:-} in [1-9]*) if any_running; then settings; fi ;; *) settings ;; esac
KAFKA_VERSION=${KAFKA_VERSION:-4.3.1}
KAFKA_HEAP=${KAFKA_HEAP:-320m}
KAFKA_PORT=${KAFKA_PORT:-19092}
KAFKA_SECURE=${KAFKA_SECURE:-0}
KAFKA_MTLS=${KAFKA_MTLS:-0}
KAFKA_SESSION_MS=${KAFKA_SESSION_MS:-4000}
KAFKA_PASSWORD=${KAFKA_PASSWORD:-kafka-secret}
STOREPASS=${MILLRACE_STOREPASS:-changeit}
LIB=$MILLRACE_ENGINES/kafka-$KAFKA_VERSION/lib

JH=$(find_java 17 21 25); JAVA=$JH/bin/java

fetch() { maven "kafka_2.13-$KAFKA_VERSION.jar" "org.apache.kafka:kafka_2.13:$KAFKA_VERSION" org.apache.logging.log4j:log4j-slf4j-impl:2.25.4; }

cport() { echo $((KAFKA_PORT+$1-1)); }
qport() { echo $((KAFKA_PORT+100+$1-1)); }

conf() { # node, of
  local i=$1 n=$2 d=$RUN/$1 rf=$(( $2<3 ? $2 : 3 )) voters="" k proto=PLAINTEXT iproto=PLAINTEXT ip
  ip=$(address_of "$i")
  local isr=$(( rf>2 ? 2 : 1 ))
  mkdir -p "$d/conf" "$d/log" "$d/data"
  for k in $(seq 1 "$n"); do voters+="${voters:+,}$k@$(address_of "$k"):$(qport "$k")"; done
  if [ "$KAFKA_SECURE" = 1 ]; then proto=SASL_SSL; iproto=SSL; make_security; fi
  cat >"$d/conf/server.properties" <<P
process.roles=broker,controller
node.id=$i
controller.quorum.voters=$voters
listeners=CLIENT://$ip:$(cport "$i"),INTERNAL://$ip:$((KAFKA_PORT+200+i-1)),CONTROLLER://$ip:$(qport "$i")
advertised.listeners=CLIENT://$ip:$(cport "$i"),INTERNAL://$ip:$((KAFKA_PORT+200+i-1))
listener.security.protocol.map=CLIENT:$proto,INTERNAL:$iproto,CONTROLLER:$iproto
inter.broker.listener.name=INTERNAL
controller.listener.names=CONTROLLER
log.dirs=$d/data
num.network.threads=2
num.io.threads=4
num.replica.fetchers=1
background.threads=2
num.recovery.threads.per.data.dir=1
# durability
default.replication.factor=$rf
min.insync.replicas=$isr
unclean.leader.election.enable=false
auto.create.topics.enable=false
num.partitions=6
offsets.topic.replication.factor=$rf
offsets.topic.num.partitions=6
transaction.state.log.replication.factor=$rf
transaction.state.log.min.isr=$isr
transaction.state.log.num.partitions=6
share.coordinator.state.topic.replication.factor=$rf
share.coordinator.state.topic.min.isr=$isr
share.coordinator.state.topic.num.partitions=3
# small machine
log.segment.bytes=67108864
log.segment.ms=86400000
log.retention.hours=24
log.cleaner.dedupe.buffer.size=16777216
log.cleaner.threads=1
log.index.size.max.bytes=1048576
socket.request.max.bytes=20971520
message.max.bytes=8388608
replica.fetch.max.bytes=8388608
# fast fail-over on loopback
broker.session.timeout.ms=${KAFKA_SESSION_MS:-4000}
broker.heartbeat.interval.ms=500
replica.lag.time.max.ms=10000
controller.quorum.election.timeout.ms=1000
controller.quorum.fetch.timeout.ms=2000
controller.quorum.election.backoff.max.ms=1000
group.initial.rebalance.delay.ms=200
group.min.session.timeout.ms=1000
controlled.shutdown.enable=true
P
  if [ "$KAFKA_SECURE" = 1 ]; then
    cat >>"$d/conf/server.properties" <<P
ssl.keystore.type=PKCS12
ssl.keystore.location=$SEC/node.p12
ssl.keystore.password=$STOREPASS
ssl.key.password=$STOREPASS
ssl.truststore.type=PKCS12
ssl.truststore.location=$SEC/trust.p12
ssl.truststore.password=$STOREPASS
ssl.endpoint.identification.algorithm=https
ssl.client.auth=required
listener.name.client.ssl.client.auth=$([ "$KAFKA_MTLS" = 1 ] && echo required || echo none)
listener.name.client.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.client.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
sasl.enabled.mechanisms=SCRAM-SHA-512
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:CN=node;User:kafka
P
  fi
  cat >"$d/conf/log4j2.properties" <<P
status = error
appender.f.type = RollingFile
appender.f.name = F
appender.f.fileName = $d/log/server.log
appender.f.filePattern = $d/log/server.log.%i
appender.f.layout.type = PatternLayout
appender.f.layout.pattern = [%d] %p %m (%c)%n
appender.f.policies.type = Policies
appender.f.policies.size.type = SizeBasedTriggeringPolicy
appender.f.policies.size.size = 10MB
appender.f.strategy.type = DefaultRolloverStrategy
appender.f.strategy.max = 2
rootLogger.level = info
rootLogger.appenderRef.f.ref = F
P
}

JOPTS=(-Djava.net.preferIPv4Stack=true -Dfile.encoding=UTF-8 -Djava.awt.headless=true -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError
       -XX:ReservedCodeCacheSize=64m -XX:MaxMetaspaceSize=128m -XX:MaxDirectMemorySize=128m -Xss512k -XX:-UsePerfData)

cluster_id() { mkdir -p "$RUN"; [ -f "$RUN/cluster.id" ] || "$JAVA" -Xmx64m -XX:TieredStopAtLevel=1 -cp "$LIB/*" kafka.tools.StorageTool random-uuid 2>/dev/null | tail -1 >"$RUN/cluster.id"; cat "$RUN/cluster.id"; }

format() { # node
  local d=$RUN/$1 a=()
  [ -f "$d/data/meta.properties" ] && return
  if [ "$KAFKA_SECURE" = 1 ]; then for name in kafka control; do a+=(--add-scram "SCRAM-SHA-512=[name=$name,password=$KAFKA_PASSWORD]"); done; fi
  "$JAVA" -Xmx96m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dlog4j2.configurationFile="$d/conf/log4j2.properties" -cp "$LIB/*" \
    kafka.tools.StorageTool format -t "$(cluster_id)" -c "$d/conf/server.properties" "${a[@]}" >"$d/log/format.log" 2>&1 || { cat "$d/log/format.log" >&2; die "format failed"; }
}

launch() {
  local i=$1 d=$RUN/$1
  ( cd "$d"; exec $(within "$i") setsid nohup env -u JAVA_TOOL_OPTIONS -u KAFKA_OPTS "$JAVA" -Xms"$KAFKA_HEAP" -Xmx"$KAFKA_HEAP" "${JOPTS[@]}" \
      -XX:ActiveProcessorCount="${KAFKA_CPUS:-2}" -Dlog4j2.configurationFile="$d/conf/log4j2.properties" -Dkafka.logs.dir="$d/log" \
      ${KAFKA_JVM_EXTRA:-} -cp "$LIB/*" kafka.Kafka "$d/conf/server.properties" >"$d/log/out.log" 2>&1 </dev/null ) &
  local p=$!
  disown "$p" 2>/dev/null || true
  remember "$p" "$d/pid"
}

save() { ( umask 077; for v in KAFKA_VERSION MILLRACE_ENGINES KAFKA_HEAP KAFKA_PORT KAFKA_SECURE KAFKA_MTLS KAFKA_PASSWORD KAFKA_SESSION_MS STOREPASS MILLRACE_PLACES; do printf '%s=%q\n' "$v" "${!v:-}"; done >"$RUN/settings" ); }
wait_ready() {
  local i=$1 t0=$SECONDS
  until grep -q 'Kafka Server started' "$RUN/$i/log/server.log" 2>/dev/null && port_open "$(address_of "$i")" "$(cport "$i")"; do
    alive "$i" || { tail -25 "$RUN/$i/log/out.log" "$RUN/$i/log/server.log" >&2; die "node $i died while starting"; }
    [ $((SECONDS-t0)) -lt "${KAFKA_WAIT:-120}" ] || die "node $i not ready after ${KAFKA_WAIT:-120} s"
    sleep 0.2
  done
}
start_one() { alive "$1" && return; conf "$1" "$2"; : >"$RUN/$1/log/server.log"; format "$1"; launch "$1"; }

case ${1:-} in
  fetch) fetch; du -sh "$LIB" | cut -f1 ;;
  down|wipe)
    for i in $(nodes); do alive "$i" && kill -TERM "$(pid_of "$i")" || true; done
    for i in $(nodes); do
      t0=$SECONDS
      while alive "$i"; do [ $((SECONDS-t0)) -lt 20 ] || kill -KILL "$(pid_of "$i")" || true; sleep 0.2; done
      rm -f "$RUN/$i/pid"
    done
    [ "$1" = wipe ] && rm -rf "$RUN"
    echo "kafka: down" ;;
  status)
    for i in $(nodes); do
      if alive "$i"; then p=$(pid_of "$i"); echo "node $i $(address_of "$i"):$(cport "$i") pid $p rss $(awk '/VmRSS/{printf "%d MB",$2/1024}' /proc/$p/status) threads $(awk '/Threads/{print $2}' /proc/$p/status)"
      else echo "node $i down"; fi
    done ;;
  kill) alive "$2" && kill -KILL "$(pid_of "$2")"; sleep 0.1; echo "node $2 killed" ;;
  start) n=$(nodes | wc -l); t0=$(date +%s%N); start_one "$2" "$n"; wait_ready "$2"; echo "node $2 up after $(( ($(date +%s%N)-t0)/1000000 )) ms" ;;
  [1-9]*)
    n=$1; fetch; mkdir -p "$RUN"; save; t0=$(date +%s%N)
    for i in $(seq 1 "$n"); do start_one "$i" "$n"; done
    for i in $(seq 1 "$n"); do wait_ready "$i"; done
    echo "ready_ms=$(( ($(date +%s%N)-t0)/1000000 ))"
    echo "bootstrap=$(for i in $(seq 1 "$n"); do printf '%s%s:%s' "$([ "$i" -gt 1 ] && echo ,)" "$(address_of "$i")" "$(cport "$i")"; done)"
    if [ "$KAFKA_SECURE" = 1 ]; then echo "security=SASL_SSL mechanism=SCRAM-SHA-512 username=kafka ca=$SEC/ca.pem"; fi ;;
  *) sed -n '2,12p' "$0"; exit 2 ;;
esac
