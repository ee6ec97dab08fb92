/*
 * One row a key: the reader, the printer, the manual and the tests all walk this table, so a key
 * cannot exist in one of them only. What a type accepts is in schema_parse.c; what keys mean
 * together (two listeners on one port, a name server that is ourselves) is in load.c.
 *
 * Ranges are wide on purpose: they keep out what cannot work or would wrap, not what is unwise.
 */
#include "conf/schema.h"

#include <string.h>

#include "conf/snapshot.h"

#define WEB(member)                                                                                \
    .offset = offsetof(struct conf_web_proxy, member),                                             \
    .size = sizeof(((struct conf_web_proxy *)NULL)->member)
#define DNS(member)                                                                                \
    .offset = offsetof(struct conf_dns, member), .size = sizeof(((struct conf_dns *)NULL)->member)
#define CONF(member)                                                                               \
    .offset = offsetof(struct conf, member), .size = sizeof(((struct conf *)NULL)->member)
#define NO_FIELD .offset = SCHEMA_NO_FIELD
#define RESTART  .apply = SCHEMA_RESTART
#define LATER    .is_later = true
#define WORDS(...)                                                                                 \
    .words = (const char *const[])                                                                 \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }
#define RANGE(a, b) .min = (a), .max = (b)
#define SECOND      UINT64_C(1000)
#define MINUTE      (60 * SECOND)
#define HOUR        (60 * MINUTE)
#define DAY         (24 * HOUR)
#define KIB         UINT64_C(1024)
#define MIB         (1024 * KIB)
#define GIB         (1024 * MIB)

static const struct schema_section_info sections[SCHEMA_N_SECTIONS] = {
    [SCHEMA_WEB_PROXY] = {"web-proxy", true,
                          "A web proxy. Several are told apart by a name, as in [web-proxy lan2]."},
    [SCHEMA_DNS] =
        {"dns", true,
         "A DNS forwarder on UDP and TCP. Several are told apart by a name, as in [dns lan2]."},
    [SCHEMA_DNS_ZONES] = {"dns-zones", false, "Conditional forwarding by suffix."},
    [SCHEMA_DNS_HOSTS] = {"dns-hosts", false, "Local records."},
    [SCHEMA_ACL] = {"acl", false, "Where the rules are, and how a refusal looks from outside."},
    [SCHEMA_LIMITS] = {"limits", false, "What one client, and all of them, may use."},
    [SCHEMA_TIMEOUTS] = {"timeouts", false, "How long each step may take."},
    [SCHEMA_LOG] = {"log", false, "What is written down, and where."},
    [SCHEMA_ADMIN] = {"admin", false, "How the running daemon is asked and told."},
    [SCHEMA_PROCESS] = {"process", false, "The process itself."},
};

/* [web-proxy] and [dns] share these rows; struct conf_listener is the first member of both. */
#define LISTENER_KEYS(section_, port_, ADDR_)                                                      \
    {.section = section_,                                                                          \
     .name = "listen-network",                                                                     \
     .type = SCHEMA_TYPE_NETWORKS,                                                                 \
     .preset_doc = "required",                                                                     \
     .is_required = true,                                                                          \
     ADDR_(base),                                                                                  \
     .doc = "Where to listen: interface names or addresses, several allowed. With a name the "     \
            "sockets are bound to that interface, so that no other side reaches them and a "       \
            "changed address does not matter; an interface that is not there yet is waited for."}, \
        {.section = section_,                                                                      \
         .name = "listen-port",                                                                    \
         .type = SCHEMA_TYPE_NUMBER,                                                               \
         .preset = port_,                                                                          \
         RANGE(1, 65535),                                                                          \
         ADDR_(base.port),                                                                         \
         .doc = "The port to listen on."},                                                         \
        {.section = section_,                                                                      \
         .name = "bypass-network",                                                                 \
         .type = SCHEMA_TYPE_EGRESS,                                                               \
         .preset_doc = "by route",                                                                 \
         ADDR_(base.egress),                                                                       \
         .doc = "Where outgoing traffic leaves: one interface, or the source addresses to use, "   \
                "one of IPv4 and one of IPv6 at most. With addresses of one family only, the "     \
                "other family is not dialled."},                                                   \
        {.section = section_,                                                                      \
         .name = "bypass-mark",                                                                    \
         .type = SCHEMA_TYPE_MARK,                                                                 \
         .preset_doc = "none",                                                                     \
         RANGE(1, UINT32_MAX),                                                                     \
         ADDR_(base.egress),                                                                       \
         .doc = "Firewall mark of outgoing packets, for policy routing; decimal or with 0x. A "    \
                "daemon that started without any may have given up the right to set one: then a "  \
                "reload with the first is refused."},                                              \
        {.section = section_,                                                                      \
         .name = "name-server",                                                                    \
         .type = SCHEMA_TYPE_NAME_SERVERS,                                                         \
         .preset_doc = "those of [dns], else of /etc/resolv.conf",                                 \
         ADDR_(base.name_servers),                                                                 \
         .doc = "Whom to ask for names: a list of ADDR, ADDR:PORT, [V6]:PORT or "                  \
                "tls://ADDR#NAME (port 853), in order of preference. The last form is DNS over "   \
                "TLS: the certificate must be for NAME (a DNS name or an address) and lead to a "  \
                "CA of OpenSSL's own store (SSL_CERT_FILE and SSL_CERT_DIR in the environment "    \
                "name another one); a server that does not prove itself is not asked, and never "  \
                "in cleartext."},                                                                  \
    {                                                                                              \
        .section = section_, .name = "description", .type = SCHEMA_TYPE_TEXT,                      \
        .preset_doc = "empty", RANGE(0, 40), ADDR_(base.description),                              \
        .doc = "Free text of at most 40 characters, UTF-8."                                        \
    }

static const struct schema_key keys[] = {
    LISTENER_KEYS(SCHEMA_WEB_PROXY, "8080", WEB),
    {.section = SCHEMA_WEB_PROXY,
     .name = "connect-ports",
     .type = SCHEMA_TYPE_PORTS,
     .preset = "443",
     WEB(connect_ports),
     .doc = "Ports that CONNECT may reach. An [out] line does not widen this list."},
    {.section = SCHEMA_WEB_PROXY,
     .name = "http-ports",
     .type = SCHEMA_TYPE_PORTS,
     .preset = "80, 443, 21, 70, 210, 280, 488, 591, 777, 873, 1025-65535",
     WEB(http_ports),
     .doc = "Ports that plain HTTP requests may reach."},
    {.section = SCHEMA_WEB_PROXY,
     .name = "tls-certificate",
     .type = SCHEMA_TYPE_TEXT,
     .preset_doc = "none",
     RANGE(1, 199),
     LATER,
     NO_FIELD,
     .doc = "Certificate file that makes this listener an HTTPS proxy."},
    {.section = SCHEMA_WEB_PROXY,
     .name = "tls-key",
     .type = SCHEMA_TYPE_TEXT,
     .preset_doc = "none",
     RANGE(1, 199),
     LATER,
     NO_FIELD,
     .doc = "The certificate's private key."},
    {.section = SCHEMA_WEB_PROXY,
     .name = "tls-client-ca",
     .type = SCHEMA_TYPE_TEXT,
     .preset_doc = "none",
     RANGE(1, 199),
     LATER,
     NO_FIELD,
     .doc = "Clients must present a certificate of this authority."},
    {.section = SCHEMA_WEB_PROXY,
     .name = "auth-file",
     .type = SCHEMA_TYPE_TEXT,
     .preset_doc = "none",
     RANGE(1, 199),
     LATER,
     NO_FIELD,
     .doc = "htpasswd file; clients are asked for Basic credentials."},
    {.section = SCHEMA_WEB_PROXY,
     .name = "proxy-protocol-from",
     .type = SCHEMA_TYPE_RANGES,
     .preset_doc = "none",
     LATER,
     NO_FIELD,
     .doc = "Load balancers whose PROXY header names the source."},
    {.section = SCHEMA_WEB_PROXY,
     .name = "parent-proxy",
     .type = SCHEMA_TYPE_PARENTS,
     .preset_doc = "none",
     LATER,
     NO_FIELD,
     .doc = "Proxies to go through, in order of preference: http://[user:pass@]host:port."},

    LISTENER_KEYS(SCHEMA_DNS, "53", DNS),
    {.section = SCHEMA_DNS,
     .name = "cache-size",
     .type = SCHEMA_TYPE_SIZE,
     .preset = "16M",
     RANGE(64 * KIB, 64 * GIB),
     RESTART,
     DNS(cache_size_bytes),
     .doc = "Memory for answers, in bytes: the daemon's total, an upper bound. With several [dns] "
            "that of the first one holds."},
    {.section = SCHEMA_DNS,
     .name = "min-ttl",
     .type = SCHEMA_TYPE_DURATION,
     .preset = "0s",
     RANGE(0, 60 * SECOND),
     .unit_ms = SECOND,
     DNS(min_ttl_s),
     .doc = "Answers are kept at least this long."},
    {.section = SCHEMA_DNS,
     .name = "max-ttl",
     .type = SCHEMA_TYPE_DURATION,
     .preset = "1d",
     RANGE(SECOND, 7 * DAY),
     .unit_ms = SECOND,
     DNS(max_ttl_s),
     .doc = "Answers are kept at most this long."},
    {.section = SCHEMA_DNS,
     .name = "negative-max-ttl",
     .type = SCHEMA_TYPE_DURATION,
     .preset = "1h",
     RANGE(0, 3 * HOUR),
     .unit_ms = SECOND,
     DNS(negative_max_ttl_s),
     .doc = "That a name does not exist is kept at most this long."},
    {.section = SCHEMA_DNS,
     .name = "serve-stale",
     .type = SCHEMA_TYPE_DURATION,
     .preset = "off",
     RANGE(SECOND, DAY),
     .unit_ms = SECOND,
     .zero_word = "off",
     DNS(serve_stale_s),
     .doc =
         "How long an expired answer may be given while no name server answers: to clients that "
         "have waited 1.8 s, with a TTL of 30 s and extended error 3 or 19; to tunnels only once "
         "every name server has failed (RFC 8767)."},
    {.section = SCHEMA_DNS,
     .name = "prefetch",
     .type = SCHEMA_TYPE_BOOL,
     .preset = "off",
     DNS(prefetch),
     .doc = "Ask again for popular names (three hits or more) in the last tenth of their life."},
    {.section = SCHEMA_DNS,
     .name = "apply-out",
     .type = SCHEMA_TYPE_BOOL,
     .preset = "yes",
     DNS(apply_out),
     .doc = "Name rules of [out] hold for queries too."},
    {.section = SCHEMA_DNS,
     .name = "rebind-protection",
     .type = SCHEMA_TYPE_REBIND,
     .preset = "off",
     DNS(rebind),
     .doc =
         "Refuse answers that point a name of the outside to a special-use address (HTTPS hints "
         "included), with extended error 15: on, off, or on and the suffixes exempt from it. Local "
         "records and [dns-zones] are exempt."},
    {.section = SCHEMA_DNS,
     .name = "special-names",
     .type = SCHEMA_TYPE_WORD,
     .preset = "local",
     WORDS("local", "forward"),
     DNS(special_forward),
     .doc = "localhost, invalid, test, onion, home.arpa and private reverse zones: answered here "
            "or forwarded."},
    {.section = SCHEMA_DNS,
     .name = "any-queries",
     .type = SCHEMA_TYPE_WORD,
     .preset = "forward",
     WORDS("forward", "minimal"),
     DNS(any_minimal),
     .doc = "Queries for type ANY: forwarded, or answered with one small record (RFC 8482)."},
    {.section = SCHEMA_DNS,
     .name = "randomise-case",
     .type = SCHEMA_TYPE_BOOL,
     .preset = "off",
     DNS(randomise_case),
     .doc = "Mix the case of letters in questions to name servers, against forged answers."},
    {.section = SCHEMA_DNS,
     .name = "trust-ad",
     .type = SCHEMA_TYPE_RANGES,
     .preset = "off",
     .zero_word = "off",
     DNS(trust_ad),
     .doc = "Name servers whose AD bit is passed on, to clients that ask for it by AD or DO."},
    {.section = SCHEMA_DNS,
     .name = "per-client-rate",
     .type = SCHEMA_TYPE_NUMBER,
     .preset = "off",
     RANGE(1, 1000000),
     .zero_word = "off",
     DNS(per_client_rate),
     .doc =
         "Queries a second of one client, which is one IPv4 address or one IPv6 /64; as many may "
         "come at once. Counted over all workers; UDP and TCP have an allowance each."},
    {.section = SCHEMA_DNS,
     .name = "over-limit",
     .type = SCHEMA_TYPE_WORD,
     .preset = "truncate",
     WORDS("truncate", "refuse"),
     DNS(refuses_over_limit),
     .doc =
         "What a query by UDP over the rate gets: an empty answer marked as truncated, so that a "
         "real client comes back by TCP, or REFUSED. By TCP it is REFUSED."},
    {.section = SCHEMA_DNS,
     .name = "version-answer",
     .type = SCHEMA_TYPE_TEXT,
     .preset = "refuse",
     RANGE(1, 199),
     .zero_word = "refuse",
     DNS(version_answer),
     .doc = "Text for version.bind, or refuse."},
    {.section = SCHEMA_DNS,
     .name = "hosts-file",
     .type = SCHEMA_TYPE_TEXT,
     .preset_doc = "none",
     RANGE(1, 199),
     DNS(hosts_file),
     .doc =
         "Local records in the form of hosts(5), besides those of [dns-hosts], which come first. "
         "A relative path starts at the directory of ukai.conf. Read again when it changes; a "
         "file that then is missing or has a bad line leaves the old records in force. The "
         "records of the first [dns] that has a file are those of the web proxies, too."},

    {.section = SCHEMA_DNS_ZONES,
     .name = "zone",
     .type = SCHEMA_TYPE_ZONE,
     .preset_doc = "none",
     .is_list = true,
     CONF(zones),
     .doc =
         "NAME SERVER, ...: NAME and the names below it are asked of these servers, in the "
         "form of name-server, and of nobody else; special names and private reverse zones, too. "
         "The longest NAME wins. The questions leave as those of the listener that was asked. "
         "Repeatable."},

    {.section = SCHEMA_DNS_HOSTS,
     .name = "host",
     .type = SCHEMA_TYPE_HOST,
     .preset_doc = "none",
     .is_list = true,
     CONF(hosts),
     .doc = "NAME ADDR, ...: local records. Answered here with a life of 60 seconds, whatever the "
            "state of the name servers; types that such a name does not have do not exist; the "
            "first name given to an address is the answer to its reverse look-up. Look-ups for "
            "tunnels and requests use them, too, and the addresses are judged like any other. "
            "Repeatable."},

    {.section = SCHEMA_ACL,
     .name = "file",
     .type = SCHEMA_TYPE_TEXT,
     .preset = "acl.conf",
     RANGE(1, 199),
     CONF(acl_file),
     .doc = "The rules; a relative path starts at the directory of ukai.conf."},
    {.section = SCHEMA_ACL,
     .name = "deny-answer",
     .type = SCHEMA_TYPE_WORD,
     .preset = "close",
     WORDS("close", "403"),
     CONF(acl_deny_403),
     .doc = "What an unlisted source gets from the web proxy. TCP 53 always closes."},
    {.section = SCHEMA_ACL,
     .name = "deny-answer-dns",
     .type = SCHEMA_TYPE_WORD,
     .preset = "drop",
     WORDS("drop", "refused"),
     CONF(acl_dns_refused),
     .doc = "What an unlisted source gets to a DNS query over UDP."},
    {.section = SCHEMA_ACL,
     .name = "mode",
     .type = SCHEMA_TYPE_WORD,
     .preset = "enforce",
     WORDS("enforce", "observe"),
     CONF(acl_observe),
     .doc = "With observe, what [in] and [out] would refuse is recorded (event observed) and let "
            "pass. Special-use addresses, our own listeners, port lists and credentials refuse as "
            "ever."},
    {.section = SCHEMA_ACL,
     .name = "on-reload",
     .type = SCHEMA_TYPE_ON_RELOAD,
     .preset = "revoke",
     CONF(on_reload),
     .doc =
         "What happens to a tunnel or a request under way that new rules forbid: revoke resets it, "
         "grace=TIME does so after that time unless newer rules permit it again, keep lets it "
         "finish. Clients that wait between two requests are closed in any case."},

    {.section = SCHEMA_LIMITS,
     .name = "max-clients",
     .type = SCHEMA_TYPE_NUMBER,
     .preset = "auto",
     RANGE(1, 10000000),
     .zero_word = "auto",
     CONF(limits.max_clients),
     .doc = "Client connections at once. With auto the limit follows from the limit of open files. "
            "One more is answered with 503 and Retry-After. At the start the daemon logs both caps "
            "and what memory they may need: with all of them idle, and at most. A reload that "
            "lowers a cap ends nothing."},
    {.section = SCHEMA_LIMITS,
     .name = "max-tunnels",
     .type = SCHEMA_TYPE_NUMBER,
     .preset = "auto",
     RANGE(1, 10000000),
     .zero_word = "auto",
     CONF(limits.max_tunnels),
     .doc = "Tunnels at once. With auto the limit follows from the limit of open files."},
    {.section = SCHEMA_LIMITS,
     .name = "per-source-tunnels",
     .type = SCHEMA_TYPE_NUMBER,
     .preset = "off",
     RANGE(1, 10000000),
     .zero_word = "off",
     CONF(limits.per_source_tunnels),
     .doc = "Tunnels at once of one source: one IPv4 address or one IPv6 /64. Those that are being "
            "set up count. One more is answered with 429 and Retry-After. Open tunnels beyond a "
            "limit that a reload lowers stay."},
    {.section = SCHEMA_LIMITS,
     .name = "per-source-rate",
     .type = SCHEMA_TYPE_NUMBER,
     .preset = "off",
     RANGE(1, 1000000),
     .zero_word = "off",
     CONF(limits.per_source_rate),
     .doc = "New connections a second of one source; after a pause a second's worth may come at "
            "once. As many again a second are answered with 429 and Retry-After, the others are "
            "closed without an answer. Further requests of a connection do not count."},
    {.section = SCHEMA_LIMITS,
     .name = "per-source-bandwidth",
     .type = SCHEMA_TYPE_SIZE,
     .preset = "off",
     RANGE(KIB, 1024 * GIB),
     .zero_word = "off",
     CONF(limits.per_source_bandwidth),
     .doc = "Bytes a second of one source, of all its tunnels and plain HTTP requests, up and down "
            "together: what it costs the line. They share it evenly, and may exceed it by a tenth "
            "of a second's worth (at least 4 KiB) after a pause. A side that sends faster is read "
            "more slowly; a connection is not idle while it waits for its turn."},
    {.section = SCHEMA_LIMITS,
     .name = "request-line-size",
     .type = SCHEMA_TYPE_SIZE,
     .preset = "8K",
     RANGE(512, 64 * KIB),
     CONF(limits.request_line_bytes),
     .doc = "Longest first line of a request, in bytes."},
    {.section = SCHEMA_LIMITS,
     .name = "head-size",
     .type = SCHEMA_TYPE_SIZE,
     .preset = "32K",
     RANGE(KIB, MIB),
     CONF(limits.head_bytes),
     .doc = "Longest head of a request, its first line included, in bytes."},

    {.section = SCHEMA_TIMEOUTS,
     .name = "head",
     .type = SCHEMA_TYPE_DURATION,
     .preset = "15s",
     RANGE(10, HOUR),
     CONF(timeouts.head_ms),
     .doc = "From accept to the end of the request's head."},
    {.section = SCHEMA_TIMEOUTS,
     .name = "dns",
     .type = SCHEMA_TYPE_DURATION,
     .preset = "5s",
     RANGE(10, MINUTE),
     CONF(timeouts.dns_ms),
     .doc = "One look-up, all name servers together."},
    {.section = SCHEMA_TIMEOUTS,
     .name = "connect",
     .type = SCHEMA_TYPE_DURATION,
     .preset = "10s",
     RANGE(10, 10 * MINUTE),
     CONF(timeouts.connect_ms),
     .doc = "Connecting to the destination, all its addresses together."},
    {.section = SCHEMA_TIMEOUTS,
     .name = "tunnel-idle",
     .type = SCHEMA_TYPE_DURATION,
     .preset = "1h",
     RANGE(10, 30 * DAY),
     CONF(timeouts.tunnel_idle_ms),
     .doc = "A tunnel without a byte in either direction ends after this time."},
    {.section = SCHEMA_TIMEOUTS,
     .name = "half-closed",
     .type = SCHEMA_TYPE_DURATION,
     .preset = "60s",
     RANGE(10, DAY),
     CONF(timeouts.half_closed_ms),
     .doc = "The same once one side has finished sending."},
    {.section = SCHEMA_TIMEOUTS,
     .name = "tunnel-life",
     .type = SCHEMA_TYPE_DURATION,
     .preset = "off",
     RANGE(10, 365 * DAY),
     .zero_word = "off",
     CONF(timeouts.tunnel_life_ms),
     .doc = "No tunnel lives longer than this."},
    {.section = SCHEMA_TIMEOUTS,
     .name = "http-idle",
     .type = SCHEMA_TYPE_DURATION,
     .preset = "60s",
     RANGE(10, DAY),
     CONF(timeouts.http_idle_ms),
     .doc = "A client's connection between two plain HTTP requests."},
    {.section = SCHEMA_TIMEOUTS,
     .name = "http-response",
     .type = SCHEMA_TYPE_DURATION,
     .preset = "5m",
     RANGE(10, DAY),
     CONF(timeouts.http_response_ms),
     .doc = "Waiting for the origin's answer to a plain HTTP request."},
    {.section = SCHEMA_TIMEOUTS,
     .name = "drain",
     .type = SCHEMA_TYPE_DURATION,
     .preset = "5m",
     RANGE(0, DAY),
     CONF(timeouts.drain_ms),
     .doc = "How long running tunnels may go on after the daemon was told to stop; idle ones go "
            "in the last tenth of it."},

    {.section = SCHEMA_LOG,
     .name = "level",
     .type = SCHEMA_TYPE_WORD,
     .preset = "info",
     WORDS("error", "warning", "notice", "info", "debug"),
     CONF(log.level),
     .doc = "What the daemon says about itself."},
    {.section = SCHEMA_LOG,
     .name = "access",
     .type = SCHEMA_TYPE_ACCESS,
     .preset = "stderr",
     WORDS("off", "stderr", "syslog", "journald"),
     CONF(log),
     .doc =
         "Where one record for each transaction goes: off, stderr, syslog, journald, or the path "
         "of a file, made with mode 0640. In the journal each field of the record stands by itself "
         "too, as UKAI_SRC and so on; the line is its message. Syslog is the socket /dev/log, "
         "facility daemon, level info. A target that takes nothing delays nobody: what it misses "
         "is counted and told once it takes records again."},
    {.section = SCHEMA_LOG,
     .name = "access-format",
     .type = SCHEMA_TYPE_FORMAT,
     .preset = "squid",
     WORDS("squid", "json", "logfmt"),
     CONF(log),
     .doc = "Form of the line: squid, json, logfmt, or a format string: text in which %{name} is a "
            "field of the record by its name in JSON (also %{time}, RFC 3339, and %{path}), %% a "
            "percent sign, and a field that a record does not have is a dash."},
    {.section = SCHEMA_LOG,
     .name = "periodic",
     .type = SCHEMA_TYPE_DURATION,
     .preset = "off",
     RANGE(SECOND, DAY),
     .zero_word = "off",
     CONF(log.periodic_ms),
     .doc = "A record for every open tunnel each so often."},
    {.section = SCHEMA_LOG,
     .name = "log-queries",
     .type = SCHEMA_TYPE_BOOL,
     .preset = "no",
     CONF(log.log_queries),
     .doc = "Write a record for each DNS query: who asked what, what the answer was and where it "
            "came from."},
    {.section = SCHEMA_LOG,
     .name = "log-query-strings",
     .type = SCHEMA_TYPE_BOOL,
     .preset = "no",
     CONF(log.log_query_strings),
     .doc = "Write down the part of a URL behind the question mark."},

    {.section = SCHEMA_ADMIN,
     .name = "control-socket",
     .type = SCHEMA_TYPE_TEXT,
     .preset = "/run/ukai/control.sock",
     RANGE(1, 107),
     RESTART,
     CONF(control_socket),
     .doc = "Local socket of the commands that talk to the daemon. They look for it in this file: "
            "when it has been changed, the running daemon is found by --socket and the old path."},
    {.section = SCHEMA_ADMIN,
     .name = "listen",
     .type = SCHEMA_TYPE_ENDPOINT,
     .preset = "off",
     .zero_word = "off",
     CONF(admin_listen),
     .doc = "Addresses with ports, at most 8, of the daemon's own HTTP server: "
            "metrics, health, the status page and the proxy's automatic configuration; see "
            "ukai(8). Not encrypted: an address of the inner side, or loopback."},
    {.section = SCHEMA_ADMIN,
     .name = "allow",
     .type = SCHEMA_TYPE_RANGES,
     .preset = "127.0.0.0/8, ::1",
     CONF(admin_allow),
     .doc = "Who may ask for these pages: addresses and networks. Anybody else is closed at "
            "accept."},

    {.section = SCHEMA_PROCESS,
     .name = "workers",
     .type = SCHEMA_TYPE_NUMBER,
     .preset = "auto",
     RANGE(1, 64),
     .zero_word = "auto",
     RESTART,
     CONF(process.workers),
     .doc = "Threads that serve. With auto, one for each processor."},
    {.section = SCHEMA_PROCESS,
     .name = "user",
     .type = SCHEMA_TYPE_TEXT,
     .preset_doc = "ukai, when started as root",
     RANGE(1, 32),
     RESTART,
     CONF(process.user),
     .doc = "The user to become once the listeners are open."},
    {.section = SCHEMA_PROCESS,
     .name = "group",
     .type = SCHEMA_TYPE_TEXT,
     .preset_doc = "the user's",
     RANGE(1, 32),
     RESTART,
     CONF(process.group),
     .doc = "The group to become."},
    {.section = SCHEMA_PROCESS,
     .name = "sandbox",
     .type = SCHEMA_TYPE_BOOL,
     .preset = "on",
     RESTART,
     CONF(process.sandbox),
     .doc = "Fences around the running process. System calls: an allow-list (seccomp); running a "
            "program, another process, executable memory and the like end the daemon. Files, where "
            "the kernel has Landlock: only the directories of the configuration, /etc and /usr can "
            "be read, only those of the access log and the control socket written, as they were "
            "named at start; a reload that needs another directory is refused. A crash leaves no "
            "core file, in which clients' words would lie."},
    {.section = SCHEMA_PROCESS,
     .name = "nofile",
     .type = SCHEMA_TYPE_NUMBER,
     .preset = "auto",
     RANGE(64, 1 << 30),
     .zero_word = "auto",
     CONF(process.nofile),
     .doc = "Limit of open files. With auto, as many as the system lets us have. Only a start as "
            "root can go beyond the hard limit that the process was given; elsewhere less is "
            "warned of."},
    {.section = SCHEMA_PROCESS,
     .name = "last-good",
     .type = SCHEMA_TYPE_BOOL,
     .preset = "on",
     CONF(process.last_good),
     .doc =
         "Keep a copy of the last valid files, in the service manager's state directory or "
         "/var/lib/ukai, and start from it when the files are broken: loudly, in the log, status "
         "and the metrics. Switched off, the copy is removed."},
};

enum { N_KEYS = sizeof(keys) / sizeof(keys[0]) };

size_t schema_n_keys(void)
{
    return N_KEYS;
}

const struct schema_key *schema_key_at(size_t i)
{
    return &keys[i];
}

const struct schema_section_info *schema_section_info(enum schema_section section)
{
    return &sections[section];
}

const char *schema_type_text(const struct schema_key *key)
{
    static const char *const texts[] = {
        [SCHEMA_TYPE_BOOL] = "yes or no",
        [SCHEMA_TYPE_NUMBER] = "number",
        [SCHEMA_TYPE_SIZE] = "size",
        [SCHEMA_TYPE_DURATION] = "time",
        [SCHEMA_TYPE_WORD] = "word",
        [SCHEMA_TYPE_TEXT] = "text",
        [SCHEMA_TYPE_PORTS] = "list of ports",
        [SCHEMA_TYPE_NETWORKS] = "list of interfaces or addresses",
        [SCHEMA_TYPE_EGRESS] = "interface or addresses",
        [SCHEMA_TYPE_MARK] = "number",
        [SCHEMA_TYPE_NAME_SERVERS] = "list of name servers",
        [SCHEMA_TYPE_ACCESS] = "word or path",
        [SCHEMA_TYPE_FORMAT] = "word",
        [SCHEMA_TYPE_ON_RELOAD] = "word",
        [SCHEMA_TYPE_RANGES] = "list of addresses or CIDRs",
        [SCHEMA_TYPE_ENDPOINT] = "list of address:port",
        [SCHEMA_TYPE_PARENTS] = "list of URLs",
        [SCHEMA_TYPE_REBIND] = "word, names",
        [SCHEMA_TYPE_ZONE] = "name, name servers",
        [SCHEMA_TYPE_HOST] = "name, addresses",
    };
    return texts[key->type];
}

const struct schema_key *schema_find(enum schema_section section, const char *name,
                                     size_t *ret_index)
{
    for (size_t i = 0; i < N_KEYS; i++) {
        if (keys[i].section == section && strcmp(keys[i].name, name) == 0) {
            *ret_index = i;
            return &keys[i];
        }
    }
    return NULL;
}

const char *schema_nearest_key(enum schema_section section, const char *name)
{
    struct value_nearest nearest = {0};

    for (size_t i = 0; i < N_KEYS; i++) {
        if (keys[i].section == section)
            value_nearest_add(&nearest, name, keys[i].name);
    }
    return value_nearest_get(&nearest, name);
}

bool schema_find_section(const char *word, enum schema_section *ret_section)
{
    for (size_t i = 0; i < SCHEMA_N_SECTIONS; i++) {
        if (strcmp(sections[i].name, word) == 0) {
            *ret_section = (enum schema_section)i;
            return true;
        }
    }
    return false;
}

const char *schema_nearest_section(const char *word)
{
    struct value_nearest nearest = {0};

    for (size_t i = 0; i < SCHEMA_N_SECTIONS; i++)
        value_nearest_add(&nearest, word, sections[i].name);
    return value_nearest_get(&nearest, word);
}
