/*
 * The one table behind every "why": the name in log and metrics, the answer a client gets while
 * none was sent, the RFC 9209 section 2.3 error type, and the closed_by word of the access record.
 * REASON_METHOD stands for 405 and 501 alike: its status here is the commoner one, and the caller
 * that knows better overrides it. Not text for people: phrases are in http/reply. Constant.
 */
#include "proxy/report/reason.h"

#include <stddef.h>

static const struct reason_info infos[REASON_MAX] = {
    [REASON_NONE] = {"none", 0, NULL, "error"},

    [REASON_CLIENT_CLOSED] = {"client_closed", 0, NULL, "client"},
    [REASON_ORIGIN_CLOSED] = {"origin_closed", 502, "connection_terminated", "server"},
    [REASON_CLIENT_RESET] = {"client_reset", 0, NULL, "client"},
    [REASON_ORIGIN_RESET] = {"origin_reset", 502, "connection_terminated", "server"},
    [REASON_IDLE] = {"idle", 504, "connection_read_timeout", "idle"},
    [REASON_HALF_CLOSED] = {"half_closed", 0, NULL, "half-closed"},
    [REASON_LIFE] = {"life", 0, NULL, "life"},
    [REASON_SHUTDOWN] = {"shutdown", 503, "proxy_internal_response", "shutdown"},
    [REASON_ADMIN] = {"admin", 503, "proxy_internal_response", "admin"},
    [REASON_ACL_REVOKED] = {"acl_revoked", 403, "http_request_denied", "acl"},

    [REASON_SOURCE_DENIED] = {"source_denied", 403, "http_request_denied", "acl"},
    [REASON_CLIENT_GONE] = {"client_gone", 0, NULL, "client"},
    [REASON_HEAD_LATE] = {"head_late", 408, "http_request_error", "error"},
    [REASON_BAD_REQUEST] = {"bad_request", 400, "http_request_error", "error"},
    [REASON_LINE_TOO_LONG] = {"line_too_long", 414, "http_request_error", "error"},
    [REASON_HEAD_TOO_LONG] = {"head_too_long", 431, "http_request_error", "error"},
    [REASON_METHOD] = {"method", 501, "http_request_error", "error"},
    [REASON_VERSION] = {"version", 505, "http_request_error", "error"},

    [REASON_OUT_DENIED] = {"out_denied", 403, "http_request_denied", "acl"},
    [REASON_PORT_DENIED] = {"port_denied", 403, "http_request_denied", "acl"},
    [REASON_SPECIAL_USE] = {"special_use", 403, "destination_ip_prohibited", "acl"},
    [REASON_OWN_LISTENER] = {"own_listener", 403, "destination_ip_prohibited", "acl"},

    [REASON_DNS_ERROR] = {"dns_error", 502, "dns_error", "error"},
    [REASON_DNS_TIMEOUT] = {"dns_timeout", 504, "dns_timeout", "error"},
    [REASON_DIAL_REFUSED] = {"dial_refused", 502, "connection_refused", "error"},
    [REASON_DIAL_UNREACHABLE] = {"dial_unreachable", 502, "destination_ip_unroutable", "error"},
    [REASON_DIAL_TIMEOUT] = {"dial_timeout", 504, "connection_timeout", "error"},

    [REASON_ANSWER_TIMEOUT] = {"answer_timeout", 504, "http_response_timeout", "error"},
    [REASON_BAD_ANSWER] = {"bad_answer", 502, "http_protocol_error", "error"},
    [REASON_LOOP] = {"loop", 508, "proxy_loop_detected", "error"},

    [REASON_LIMIT] = {"limit", 503, "connection_limit_reached", "error"},
    [REASON_SOURCE_LIMIT] = {"source_limit", 429, "connection_limit_reached", "error"},
    [REASON_INTERNAL] = {"internal", 503, "proxy_internal_error", "error"},
};

const struct reason_info *reason_info(enum reason reason)
{
    if ((unsigned)reason >= REASON_MAX || !infos[reason].name)
        return &infos[REASON_INTERNAL];
    return &infos[reason];
}
