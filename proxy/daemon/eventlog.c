/*
 * libevent writes to standard error by itself, and ends the process where it cannot go on: without
 * descriptors for the two pairs of each loop, for one. Its words become lines of the daemon's log,
 * and the end says what an admin can do.
 */
#include "proxy/daemon/eventlog.h"

#include <event2/event.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/escape.h"
#include "proxy/base/log.h"
#include "proxy/daemon/daemon.h"

static void on_words(int severity, const char *text)
{
    char safe[512];
    escape_write(ESCAPE_LOG, text, strlen(text), safe, sizeof(safe));
    log_emit(severity == EVENT_LOG_ERR    ? LOG_LEVEL_ERROR
             : severity == EVENT_LOG_WARN ? LOG_LEVEL_WARNING
                                          : LOG_LEVEL_DEBUG,
             "msg=\"of the event library\" error=\"%s\"", safe);
}

static void on_end(int code)
{
    (void)code;
    log_error("msg=\"cannot go on\" error=\"the event library gave up, see the line before this\" "
              "do=\"raise the limit of open files (LimitNOFILE=), or give more memory\"");
    _exit(EXIT_FAILED);
}

void eventlog_begin(void)
{
    event_set_log_callback(on_words);
    event_set_fatal_callback(on_end);
}
