/*
 * On the main thread's loop, which serves no traffic: a slow client costs nobody anything but one
 * of a few places, and those are timed. Who may talk is the file system's matter (mode 0660 in a
 * directory of the daemon's), so no credentials are asked; who said what is logged.
 *
 * A call may outlive its client: work that was begun comes to its end, and the answer is dropped.
 */
#include "proxy/daemon/control.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "proxy/base/escape.h"
#include "proxy/base/log.h"

enum { BACKLOG = 16, PAUSE_MS = 200, HEAD_MAX = 192, TEXT_FIRST_BYTES = 512 };

/* What a verb writes; beyond the limit it is dropped, and the answer says so instead. */
struct text {
    struct control_call *call;
    FILE *file;
    char *bytes; /* owned by free() */
    size_t len, size;
};

struct control_call {
    struct list node;        /* of the control, while there is one */
    struct control *control; /* NULL: it is closed */
    int fd;                  /* -1: the client is gone */
    struct event event;
    struct timer limit;
    json_t *request; /* owned; @args point into it */
    char *args[CONTROL_ARGS_MAX + 1];
    struct text out, err;
    char in[CONTROL_REQUEST_MAX];
    size_t n_in;
    char head[HEAD_MAX]; /* of the answer, before out and err; or a refusal, whole */
    size_t head_len, n_sent;
    bool is_running;
    bool is_too_long, is_short_of_memory; /* out or err lost something */
};

/* ---- texts ---- */

/* What all answers hold is bounded too. */
static bool may_grow(const struct text *t, size_t len)
{
    const struct control_call *call = t->call;
    return t->len + len <= CONTROL_ANSWER_MAX &&
           (!call->control || call->control->n_answer_bytes + len <= CONTROL_ANSWERS_MAX);
}

static bool text_reserve(struct text *t, size_t len)
{
    if (t->len + len <= t->size)
        return true;
    size_t size = t->size ? t->size : TEXT_FIRST_BYTES;
    while (size < t->len + len)
        size *= 2;
    char *bytes = realloc(t->bytes, size);
    if (!bytes)
        return false;
    t->bytes = bytes;
    t->size = size;
    return true;
}

static ssize_t on_text(void *cookie, const char *bytes, size_t len)
{
    struct text *t = cookie;
    struct control_call *call = t->call;
    call->is_too_long = call->is_too_long || !may_grow(t, len);
    call->is_short_of_memory =
        call->is_short_of_memory || (!call->is_too_long && !text_reserve(t, len));
    if (call->is_too_long || call->is_short_of_memory)
        return (ssize_t)len; /* the verb need not know */
    memcpy(t->bytes + t->len, bytes, len);
    t->len += len;
    if (call->control)
        call->control->n_answer_bytes += len;
    return (ssize_t)len;
}

static int text_open(struct text *t, struct control_call *call)
{
    t->call = call;
    t->file = fopencookie(t, "w", (cookie_io_functions_t){.write = on_text});
    return t->file ? 0 : -ENOMEM;
}

/* Nothing more is written. */
static void text_close(struct text *t)
{
    if (t->file)
        fclose(t->file);
    t->file = NULL;
}

static void text_fini(struct text *t)
{
    text_close(t);
    if (t->call && t->call->control)
        t->call->control->n_answer_bytes -= t->len;
    free(t->bytes);
}

/* ---- life of a call ---- */

static void drop_client(struct control_call *call)
{
    if (call->fd < 0)
        return;
    loop_timer_stop(call->control->loop, &call->limit);
    event_del(&call->event);
    close(call->fd);
    call->fd = -1;
}

/* Only now its place is free: a verb that runs has it, whether its client waits or left. */
static void call_free(struct control_call *call)
{
    text_fini(&call->out);
    text_fini(&call->err);
    if (call->control) {
        drop_client(call);
        list_remove(&call->node);
        call->control->n_calls--;
    }
    json_decref(call->request);
    free(call);
}

/* The client is gone or late; a verb that runs still has the call. */
static void lose_client(struct control_call *call)
{
    if (call->is_running)
        drop_client(call);
    else
        call_free(call);
}

static void on_late(struct timer *t)
{
    lose_client(list_entry(t, struct control_call, limit));
}

/* ---- the answer ---- */

/* From @at on, of head, out and err one after the other. */
static struct iovec part(const char *bytes, size_t len, size_t *at)
{
    size_t skipped = *at < len ? *at : len;
    *at -= skipped;
    if (skipped == len)
        return (struct iovec){.iov_len = 0};
    return (struct iovec){.iov_base = (void *)(uintptr_t)(bytes + skipped),
                          .iov_len = len - skipped};
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct control_call *call = arg;
    size_t at = call->n_sent;
    struct iovec parts[3];
    parts[0] = part(call->head, call->head_len, &at);
    parts[1] = part(call->out.bytes, call->out.len, &at);
    parts[2] = part(call->err.bytes, call->err.len, &at);
    struct msghdr m = {.msg_iov = parts, .msg_iovlen = 3};
    ssize_t n = sendmsg(fd, &m, MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    size_t whole = call->head_len + call->out.len + call->err.len;
    if (n <= 0 || (call->n_sent += (size_t)n) == whole) {
        call_free(call);
        return;
    }
    loop_timer_start(call->control->loop, &call->limit, CONTROL_READ_LIMIT_MS, on_late);
}

/* Nothing is given in part, and the words need no room of the texts'. */
static void compose_refusal(struct control_call *call)
{
    const char *why =
        call->is_too_long
            ? "ukai: the answer is too long: at most 64 MiB, and 128 MiB for all who ask now\n"
            : "ukai: the daemon has no memory for the answer\n";
    text_fini(&call->out);
    text_fini(&call->err);
    call->out = call->err = (struct text){0};
    call->head_len =
        (size_t)snprintf(call->head, HEAD_MAX, "{\"exit\":%d,\"out\":0,\"err\":%zu}\n%s",
                         CONTROL_EXIT_FAILED, strlen(why), why);
}

static void compose(struct control_call *call, int exit_code)
{
    text_close(&call->out);
    text_close(&call->err);
    if (call->is_too_long || call->is_short_of_memory)
        compose_refusal(call);
    else
        call->head_len =
            (size_t)snprintf(call->head, HEAD_MAX, "{\"exit\":%d,\"out\":%zu,\"err\":%zu}\n",
                             exit_code, call->out.len, call->err.len);
}

void control_end(struct control_call *call, int exit_code)
{
    call->is_running = false;
    if (!call->control || call->fd < 0) {
        call_free(call);
        return;
    }
    compose(call, exit_code);
    event_del(&call->event);
    event_assign(&call->event, call->control->loop->base, call->fd, EV_WRITE | EV_PERSIST,
                 on_writable, call);
    if (event_add(&call->event, NULL) < 0) {
        call_free(call);
        return;
    }
    loop_timer_start(call->control->loop, &call->limit, CONTROL_READ_LIMIT_MS, on_late);
}

/* One byte of output with as many descriptors as go along. */
static int send_fds(int fd, const char *bytes, size_t len, const int *fds, size_t n_fds)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int) * CONTROL_FDS_A_MESSAGE)];
        struct cmsghdr align;
    } space;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    if (n_fds > 0) {
        message.msg_control = space.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
                              .cmsg_type = SCM_RIGHTS,
                              .cmsg_len = CMSG_LEN(sizeof(int) * n_fds)};
        memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
    }
    ssize_t n = sendmsg(fd, &message, MSG_NOSIGNAL);
    return n == (ssize_t)len ? 0 : n < 0 ? -errno : -EAGAIN;
}

/* Small messages into an empty socket buffer: what does not fit at once is a client to be lost. */
void control_end_with_fds(struct control_call *call, int exit_code, const int *fds, size_t n_fds)
{
    call->is_running = false;
    if (call->control && call->fd >= 0) {
        compose(call, exit_code);
        int rc = send_fds(call->fd, call->head, call->head_len, NULL, 0);
        for (size_t i = 0; rc == 0 && i < call->out.len; i++) {
            size_t first = i * CONTROL_FDS_A_MESSAGE;
            size_t n = first < n_fds ? n_fds - first : 0;
            rc = send_fds(call->fd, call->out.bytes + i, 1, fds + first,
                          n < CONTROL_FDS_A_MESSAGE ? n : CONTROL_FDS_A_MESSAGE);
        }
    }
    call_free(call);
}

void *control_owner(const struct control_call *call)
{
    return call->control ? call->control->owner : NULL;
}

char **control_args(struct control_call *call, int *ret_n)
{
    *ret_n = (int)json_array_size(call->request);
    return call->args;
}

FILE *control_out(struct control_call *call)
{
    return call->out.file;
}

FILE *control_err(struct control_call *call)
{
    return call->err.file;
}

int64_t control_peer_pid(const struct control_call *call)
{
    struct ucred who;
    socklen_t len = sizeof(who);
    bool is_known = call->fd >= 0 && getsockopt(call->fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0;
    return is_known ? who.pid : -1;
}

bool control_is_awaited(const struct control_call *call)
{
    return call->control && call->fd >= 0;
}

/* ---- the request ---- */

/* Returns how many words; 0: it is no array of a few strings without NUL. */
static int parse(struct control_call *call, size_t len)
{
    json_error_t error;
    call->request = json_loadb(call->in, len, JSON_REJECT_DUPLICATES, &error);
    size_t n = json_array_size(call->request);
    if (n == 0 || n > CONTROL_ARGS_MAX)
        return 0;
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(call->request, i));
        if (!text)
            return 0;
        call->args[i] = (char *)(uintptr_t)text;
    }
    return (int)n;
}

static void say_who(const struct control_call *call)
{
    struct ucred who = {.uid = (uid_t)-1};
    socklen_t len = sizeof(who);
    char verb[64];
    getsockopt(call->fd, SOL_SOCKET, SO_PEERCRED, &who, &len);
    escape_write(ESCAPE_LOG, call->args[0], strlen(call->args[0]), verb, sizeof(verb));
    log_debug("msg=control verb=\"%s\" uid=%u pid=%d", verb, (unsigned)who.uid, (int)who.pid);
}

static void run(struct control_call *call, size_t len)
{
    call->is_running = true;
    loop_timer_stop(call->control->loop, &call->limit);
    int n = parse(call, len);
    if (n == 0) {
        fputs("ukai: the request is not an array of strings\n", call->err.file);
        control_end(call, 2);
        return;
    }
    say_who(call);
    for (const struct control_verb *v = call->control->verbs; v->name; v++) {
        if (strcmp(v->name, call->args[0]) == 0) {
            v->run(call, n, call->args);
            return;
        }
    }
    fputs("ukai: the running daemon does not know that command; is it of an older version?\n",
          call->err.file);
    control_end(call, 2);
}

/* While a verb runs, the only news a client can have is that it left. */
static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct control_call *call = arg;
    char spare[64];
    bool is_deaf = call->is_running;
    ssize_t n = is_deaf ? recv(fd, spare, sizeof(spare), 0)
                        : recv(fd, call->in + call->n_in, sizeof(call->in) - call->n_in, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        lose_client(call);
        return;
    }
    if (is_deaf)
        return;
    call->n_in += (size_t)n;
    const char *end = memchr(call->in, '\n', call->n_in);
    if (end)
        run(call, (size_t)(end - call->in));
    else if (call->n_in == sizeof(call->in))
        lose_client(call);
}

/* ---- accepting ---- */

/* Before it has asked; what does not fit into its empty buffer at once is lost. Takes @fd. */
static void turn_away(int fd, const char *why)
{
    char text[2 * HEAD_MAX];
    int len = snprintf(text, sizeof(text), "{\"exit\":%d,\"out\":0,\"err\":%zu}\n%s",
                       CONTROL_EXIT_FAILED, strlen(why), why);
    (void)!send(fd, text, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

static void call_new(struct control *c, int fd)
{
    if (c->n_calls >= CONTROL_CALLS_MAX) {
        turn_away(fd, "ukai: the daemon has as many commands under way as it takes; try again\n");
        return;
    }
    struct control_call *call = calloc(1, sizeof(*call));
    if (!call) {
        turn_away(fd, "ukai: the daemon has no memory for another command\n");
        return;
    }
    call->control = c;
    call->fd = fd;
    c->n_calls++;
    list_append(&c->calls, &call->node);
    event_assign(&call->event, c->loop->base, fd, EV_READ | EV_PERSIST, on_readable, call);
    if (text_open(&call->out, call) < 0 || text_open(&call->err, call) < 0 ||
        event_add(&call->event, NULL) < 0) {
        call_free(call);
        return;
    }
    loop_timer_start(c->loop, &call->limit, CONTROL_READ_LIMIT_MS, on_late);
}

static void on_pause_over(struct timer *t)
{
    struct control *c = list_entry(t, struct control, pause);
    if (event_add(&c->event, NULL) < 0)
        loop_timer_start(c->loop, t, PAUSE_MS, on_pause_over);
}

static void on_client(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct control *c = arg;
    int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client >= 0) {
        call_new(c, client);
    } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
        event_del(&c->event);
        loop_timer_start(c->loop, &c->pause, PAUSE_MS, on_pause_over);
    }
}

/* ---- the place ---- */

static int refuse(char *text, size_t size, const char *path, const char *why)
{
    snprintf(text, size, "the control socket %s %s", path, why);
    return -EPERM;
}

/* Whether somebody answers there: 1, nobody: 0, -errno. */
static int is_answered(const struct sockaddr_un *sa)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int rc = connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == 0 ? 1 : -errno;
    close(fd);
    return rc == -ECONNREFUSED || rc == -ENOENT ? 0 : rc == -EAGAIN ? 1 : rc;
}

static int check_directory(const char *path, char *text, size_t size)
{
    char dir[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
    struct stat st;
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 1;
    memcpy(dir, slash ? path : ".", len);
    dir[len] = '\0';
    if (stat(len ? dir : "/", &st) < 0) {
        int rc = -errno;
        snprintf(text, size,
                 "the control socket's directory %s: %s; make it, or name another "
                 "place with control-socket in [admin]",
                 dir, strerror(-rc));
        return rc;
    }
    if (st.st_mode & S_IWOTH)
        return refuse(text, size, path, "is in a directory that anybody may write to; use another");
    return 0;
}

/* What is at the path already: nothing, or a left-over that is removed. */
static int clear_place(const struct sockaddr_un *sa, bool replaces, char *text, size_t size)
{
    struct stat st;
    const char *path = sa->sun_path;
    int rc = check_directory(path, text, size);
    if (rc < 0)
        return rc;
    if (lstat(path, &st) < 0) {
        rc = errno == ENOENT ? 0 : -errno;
        if (rc < 0)
            snprintf(text, size, "the control socket %s: %s", path, strerror(-rc));
        return rc;
    }
    if (S_ISLNK(st.st_mode))
        return refuse(text, size, path, "is a symbolic link; remove it");
    if (!S_ISSOCK(st.st_mode))
        return refuse(text, size, path, "is there already and no socket; remove it");
    if (st.st_uid != geteuid())
        return refuse(text, size, path, "belongs to another user; remove it");
    rc = replaces ? 0 : is_answered(sa);
    if (rc != 0) {
        refuse(text, size, path,
               "is answered by another daemon; stop that one, or take over with --replace");
        return -EEXIST;
    }
    return unlink(path) < 0 ? refuse(text, size, path, "cannot be removed") : 0;
}

static int bind_at(struct control *c, const struct sockaddr_un *sa)
{
    struct stat st;
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        return -errno;
    mode_t before = umask(0177);
    int rc = bind(c->fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0 ? -errno : 0;
    umask(before);
    if (rc == 0 && (chmod(sa->sun_path, 0660) < 0 || listen(c->fd, BACKLOG) < 0 ||
                    lstat(sa->sun_path, &st) < 0))
        rc = -errno;
    if (rc < 0)
        return rc;
    c->device = st.st_dev;
    c->inode = st.st_ino;
    c->path = strdup(sa->sun_path);
    return c->path ? 0 : -ENOMEM;
}

int control_open(struct control *c, struct loop *loop, const char *path, bool replaces,
                 const struct control_verb *verbs, void *owner, char *ret_text, size_t text_size)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    *c = (struct control){.loop = loop, .fd = -1, .verbs = verbs, .owner = owner};
    list_init(&c->calls);
    if (len == 0 || len >= sizeof(sa.sun_path)) {
        snprintf(ret_text, text_size, "the control socket's path is longer than %zu bytes",
                 sizeof(sa.sun_path) - 1);
        return -ENAMETOOLONG;
    }
    memcpy(sa.sun_path, path, len);
    int rc = clear_place(&sa, replaces, ret_text, text_size);
    if (rc < 0)
        return rc;
    rc = bind_at(c, &sa);
    if (rc == 0) {
        event_assign(&c->event, loop->base, c->fd, EV_READ | EV_PERSIST, on_client, c);
        rc = event_add(&c->event, NULL) < 0 ? -ENOMEM : 0;
    }
    if (rc < 0) {
        snprintf(ret_text, text_size, "the control socket %s: %s%s", path, strerror(-rc),
                 rc == -EACCES ? "; make its directory the daemon's own (chown), or remove it: a "
                                 "start as root makes it"
                               : "");
        if (c->fd >= 0)
            close(c->fd);
        free(c->path);
        c->path = NULL;
        c->fd = -1;
    }
    return rc;
}

void control_close(struct control *c)
{
    struct stat st;
    if (c->fd < 0)
        return;
    list_for_each_safe (pos, tmp, &c->calls) {
        struct control_call *call = list_entry(pos, struct control_call, node);
        bool is_running = call->is_running;
        drop_client(call);
        list_remove(&call->node);
        call->control = NULL;
        if (!is_running)
            call_free(call);
    }
    loop_timer_stop(c->loop, &c->pause);
    event_del(&c->event);
    /* While the socket is open nothing else can have its inode. */
    if (c->path && lstat(c->path, &st) == 0 && st.st_dev == c->device && st.st_ino == c->inode)
        unlink(c->path);
    control_leave_place(c);
    close(c->fd);
    c->fd = -1;
}

void control_leave_place(struct control *c)
{
    free(c->path);
    c->path = NULL;
}
