/* eventlog - what libevent has to say, in our log. */
#ifndef PROXY_DAEMON_EVENTLOG_H
#define PROXY_DAEMON_EVENTLOG_H

/* For the whole process, before the first loop is made. */
void eventlog_begin(void);

#endif
