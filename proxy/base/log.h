/* log - the daemon's own messages: one line, key=value, to stderr or syslog. */
#ifndef PROXY_BASE_LOG_H
#define PROXY_BASE_LOG_H

#include <stdbool.h>

enum log_level {
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_NOTICE,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG
};

/* Process-wide and thread-safe (an atomic). Default: notice. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
bool log_wants(enum log_level level);
/* "error", "warning", ...: level by name; false when unknown. */
bool log_level_from_name(const char *name, enum log_level *ret_level);
const char *log_level_name(enum log_level level);

/**
 * log_emit - one line: `level=notice msg=ready workers=2 ...`; one write(2), lines over 2 KiB are
 * cut
 *
 * The caller writes the part behind the level as key=value text; peer bytes go through
 * escape_write() first. Newlines in the result are replaced, so one call is one line. Never blocks
 * the caller for long: a write that would block (EAGAIN) drops the line and counts it; the count is
 * told with the next one.
 */
void log_emit(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_emit(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_emit(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...)  log_emit(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_debug(...)                                                                             \
    do {                                                                                           \
        if (log_wants(LOG_LEVEL_DEBUG))                                                            \
            log_emit(LOG_LEVEL_DEBUG, __VA_ARGS__);                                                \
    } while (0)

#endif
