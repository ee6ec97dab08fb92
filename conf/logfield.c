/*
 * The same names in JSON, logfmt, journald and format strings; the configuration checks a format
 * string when it is read, so that writing a record cannot meet a name it does not know. The format
 * string is never given to printf().
 */
#include "conf/logfield.h"

#include <string.h>

static const char *const names[LOG_FIELD_N] = {
    [LOG_FIELD_TS] = "ts",
    [LOG_FIELD_EVENT] = "event",
    [LOG_FIELD_ID] = "id",
    [LOG_FIELD_SRC] = "src",
    [LOG_FIELD_SRC_PORT] = "src_port",
    [LOG_FIELD_LISTENER] = "listener",
    [LOG_FIELD_METHOD] = "method",
    [LOG_FIELD_HOST] = "host",
    [LOG_FIELD_PORT] = "port",
    [LOG_FIELD_TYPE] = "type",
    [LOG_FIELD_RCODE] = "rcode",
    [LOG_FIELD_RESULT] = "result",
    [LOG_FIELD_ADDR] = "addr",
    [LOG_FIELD_LOCAL_ADDR] = "local_addr",
    [LOG_FIELD_RULE] = "rule",
    [LOG_FIELD_MEMO] = "memo",
    [LOG_FIELD_USER_AGENT] = "user_agent",
    [LOG_FIELD_STATUS] = "status",
    [LOG_FIELD_ERROR] = "error",
    [LOG_FIELD_BYTES_UP] = "bytes_up",
    [LOG_FIELD_BYTES_DOWN] = "bytes_down",
    [LOG_FIELD_DNS_MS] = "dns_ms",
    [LOG_FIELD_CONNECT_MS] = "connect_ms",
    [LOG_FIELD_FIRST_BYTE_MS] = "first_byte_ms",
    [LOG_FIELD_DURATION_MS] = "duration_ms",
    [LOG_FIELD_CLOSED_BY] = "closed_by",
    [LOG_FIELD_TIME] = "time",
    [LOG_FIELD_PATH] = "path",
};

const char *logfield_name(enum log_field field)
{
    return names[field];
}

static bool find(const char *text, size_t len, enum log_field *ret_field)
{
    for (unsigned i = 0; i < LOG_FIELD_N; i++) {
        if (strncmp(names[i], text, len) == 0 && names[i][len] == '\0') {
            *ret_field = (enum log_field)i;
            return true;
        }
    }
    return false;
}

enum logfield_outcome logfield_next(const char **cursor, struct log_piece *ret_piece)
{
    const char *at = *cursor;
    if (*at == '\0')
        return LOGFIELD_END;
    if (*at != '%') {
        size_t len = strcspn(at, "%");
        *ret_piece = (struct log_piece){.text = at, .len = len};
        *cursor = at + len;
        return LOGFIELD_PIECE;
    }
    if (at[1] == '%') {
        *ret_piece = (struct log_piece){.text = at, .len = 1};
        *cursor = at + 2;
        return LOGFIELD_PIECE;
    }
    size_t len = at[1] == '{' ? strcspn(at + 2, "}") : 0;
    bool is_closed = at[1] == '{' && at[2 + len] == '}';
    *ret_piece = (struct log_piece){0};
    if (is_closed && find(at + 2, len, &ret_piece->field)) {
        *cursor = at + 2 + len + 1;
        return LOGFIELD_PIECE;
    }
    ret_piece->text = at;
    ret_piece->len = is_closed ? len + 3 : at[1] == '{' ? len + 2 : at[1] ? 2 : 1;
    return LOGFIELD_BAD;
}
