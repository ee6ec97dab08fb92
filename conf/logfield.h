/* logfield - the names of an access record's fields, and format strings made of them (pure). */
#ifndef CONF_LOGFIELD_H
#define CONF_LOGFIELD_H

#include <stdbool.h>
#include <stddef.h>

/* In the order of the keyed formats. */
enum log_field {
    LOG_FIELD_TS,
    LOG_FIELD_EVENT,
    LOG_FIELD_ID,
    LOG_FIELD_SRC,
    LOG_FIELD_SRC_PORT,
    LOG_FIELD_LISTENER,
    LOG_FIELD_METHOD,
    LOG_FIELD_HOST,
    LOG_FIELD_PORT,
    LOG_FIELD_TYPE,
    LOG_FIELD_RCODE,
    LOG_FIELD_RESULT,
    LOG_FIELD_ADDR,
    LOG_FIELD_LOCAL_ADDR,
    LOG_FIELD_RULE,
    LOG_FIELD_MEMO,
    LOG_FIELD_USER_AGENT,
    LOG_FIELD_STATUS,
    LOG_FIELD_ERROR,
    LOG_FIELD_BYTES_UP,
    LOG_FIELD_BYTES_DOWN,
    LOG_FIELD_DNS_MS,
    LOG_FIELD_CONNECT_MS,
    LOG_FIELD_FIRST_BYTE_MS,
    LOG_FIELD_DURATION_MS,
    LOG_FIELD_CLOSED_BY,
    LOG_FIELD_N_KEYED,
    /* For format strings only. */
    LOG_FIELD_TIME = LOG_FIELD_N_KEYED,
    LOG_FIELD_PATH,
    LOG_FIELD_N
};

/* As it stands in the record: "src_port". */
const char *logfield_name(enum log_field field);

/* One piece of a format string: literal text, or a field. */
struct log_piece {
    const char *text; /* literal, within the format string; NULL: @field */
    size_t len;
    enum log_field field;
};

enum logfield_outcome {
    LOGFIELD_PIECE = 1,
    LOGFIELD_END,
    LOGFIELD_BAD, /* neither %{name} nor %% */
};

/**
 * logfield_next - the piece at @cursor of a format string; %{name} is a field, %% a percent sign
 * @cursor moves behind the piece; @ret_piece is valid with LOGFIELD_PIECE; with LOGFIELD_BAD its
 * text is the offending part.
 *
 * Returns: an outcome.
 */
enum logfield_outcome logfield_next(const char **cursor, struct log_piece *ret_piece)
    __attribute__((warn_unused_result));

#endif
