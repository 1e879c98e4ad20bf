# Shared by cassandra.sh and kafka.sh: Java, Maven, certificates, processes. The caller sets NAME before it reads this file.

die() { echo "$NAME: $*" >&2; exit 1; }

# Whether the process that a pid file names is still that very process and no zombie.
alive_file() {
  local p s
  [ -f "$1" ] || return 1
  read -r p s <"$1" || return 1
  [ -r "/proc/$p/stat" ] && [ "$(sed 's/.*) //' "/proc/$p/stat" 2>/dev/null | cut -d' ' -f20)" = "$s" ] &&
  [ "$(sed 's/.*) //' "/proc/$p/stat" | cut -d' ' -f1)" != Z ]
}
any_running() { local f; for f in "$RUN"/*/pid; do alive_file "$f" && return 0; done; return 1; }
# Where server I runs: its word of MILLRACE_PLACES, an address or address@network-namespace, or else on loopback.
place_of() {
  local places=(${MILLRACE_PLACES:-})
  echo "${places[$(($1 - 1))]:-127.0.0.$([ "$NAME" = cassandra.sh ] && echo "$1" || echo 1)}"
}
address_of() { local place; place=$(place_of "$1"); echo "${place%@*}"; }
# Command prefix of server I: nothing, or what enters its network namespace.
within() { local place; place=$(place_of "$1"); case $place in *@*) echo "ip netns exec ${place#*@}" ;; esac; }
alive() { alive_file "$RUN/$1/pid"; }
pid_of() { cut -d' ' -f1 "$RUN/$1/pid"; }
nodes() { ls "$RUN" 2>/dev/null | grep -E '^[0-9]+$' | sort -n || true; }
port_open() { (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }
# Remembers the pid with its start time, so that a later process with the same number is left alone.
remember() { sleep 0.05; echo "$1 $(sed 's/.*) //' "/proc/$1/stat" | cut -d' ' -f20)" >"$2"; }

find_java() { # accepted versions
  local c v
  for c in "${JAVA_HOME:-}" /usr/lib/jvm/*17* /usr/lib/jvm/*21* /usr/lib/jvm/*11* /usr/lib/jvm/*25*; do
    [ -n "$c" ] && [ -x "$c/bin/java" ] || continue
    v=$("$c/bin/java" -version 2>&1 | sed -n '1s/.*version "\([0-9]*\).*/\1/p')
    case " $* " in *" $v "*) echo "$c"; return ;; esac
  done
  die "no Java of version $* found (Debian: apt-get install openjdk-17-jdk-headless)"
}

# Puts an artifact of Maven Central with all that it needs at run time into LIB.
maven() { # first file that must be there, dependencies (group:artifact:version) …
  local expect=$1 dependency g a v pom=$LIB/../pom.xml; shift
  [ -f "$LIB/.complete" ] && return
  command -v mvn >/dev/null || die 'mvn is needed to fetch the engine (Debian: apt-get install maven)'
  mkdir -p "$LIB"
  {
    echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
    echo '<groupId>local</groupId><artifactId>engine</artifactId><version>1</version><packaging>pom</packaging><dependencies>'
    for dependency in "$@"; do
      IFS=: read -r g a v <<<"$dependency"
      echo "<dependency><groupId>$g</groupId><artifactId>$a</artifactId><version>$v</version></dependency>"
    done
    echo '</dependencies></project>'
  } >"$pom"
  mvn -B -q -ntp -f "$pom" -Dmaven.repo.local="$MILLRACE_ENGINES/m2" dependency:copy-dependencies \
      -DoutputDirectory="$LIB" -DincludeScope=runtime >&2 || true
  [ -f "$LIB/$expect" ] || die 'the download failed'
  # Native parts for other operating systems are of no use here.
  rm -f "$LIB"/*-osx-*.jar "$LIB"/*-windows-*.jar "$LIB"/netty-resolver-dns-native-macos-*.jar
  touch "$LIB/.complete"
}

# one CA, one key for the brokers/nodes; PKCS12 for Java, PEM for the clients. Valid since two days ago: in tests,
# the clocks of some nodes are behind.
make_security() {
  [ -f "$SEC/ca.pem" ] && return
  mkdir -p "$SEC"; chmod 700 "$SEC"
  local kt=$JH/bin/keytool
  [ -x "$kt" ] || die "keytool is missing"
  local q="-storetype PKCS12 -storepass $STOREPASS -keypass $STOREPASS"
  $kt -genkeypair -alias ca -dname "CN=Millrace test CA" -keyalg EC -groupname secp256r1 -startdate -2d -validity 3650 \
      -ext bc:c=ca:true -ext ku:c=keyCertSign,cRLSign -keystore "$SEC/ca.p12" $q 2>/dev/null
  $kt -exportcert -rfc -alias ca -keystore "$SEC/ca.p12" -storepass "$STOREPASS" -file "$SEC/ca.pem.tmp" 2>/dev/null
  local who san place
  for who in node client; do
    san="san=dns:localhost,ip:127.0.0.1,ip:127.0.0.2,ip:127.0.0.3,ip:127.0.0.4,ip:127.0.0.5"
    for place in $(printf '%s\n' ${MILLRACE_PLACES:-} | sort -u); do san+=",ip:${place%@*}"; done
    $kt -genkeypair -alias $who -dname "CN=$who" -keyalg EC -groupname secp256r1 -startdate -2d -validity 3650 -keystore "$SEC/$who.p12" $q 2>/dev/null
    $kt -certreq -alias $who -keystore "$SEC/$who.p12" -storepass "$STOREPASS" 2>/dev/null |
      $kt -gencert -rfc -alias ca -keystore "$SEC/ca.p12" -storepass "$STOREPASS" -startdate -2d -validity 3650 \
          -ext "$san" -ext eku=serverAuth,clientAuth > "$SEC/$who.pem" 2>/dev/null
    $kt -importcert -noprompt -alias ca -file "$SEC/ca.pem.tmp" -keystore "$SEC/$who.p12" -storepass "$STOREPASS" 2>/dev/null
    $kt -importcert -noprompt -alias $who -file "$SEC/$who.pem" -keystore "$SEC/$who.p12" -storepass "$STOREPASS" 2>/dev/null
  done
  $kt -importcert -noprompt -alias ca -file "$SEC/ca.pem.tmp" -storetype PKCS12 -keystore "$SEC/trust.p12" -storepass "$STOREPASS" 2>/dev/null
  if command -v openssl >/dev/null; then
    openssl pkcs12 -in "$SEC/client.p12" -passin pass:"$STOREPASS" -nocerts -nodes 2>/dev/null | openssl pkey > "$SEC/client.key" 2>/dev/null
  fi
  chmod 600 "$SEC"/*
  mv "$SEC/ca.pem.tmp" "$SEC/ca.pem"
}

