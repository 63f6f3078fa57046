/* HTTP by libmicrohttpd, on a thread of its own. A connection whose job is under way sleeps (MHD suspends it) and is
 * woken by the main thread; what MHD does not look at meanwhile, whether the client is still there, the main thread
 * does between its steps. */
#define _GNU_SOURCE /* POLLRDHUP */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/common/talk.h"
#include "cli/serve/serve.h"
#include "engine/base/clock.h"

/* RECEIVE_S: a request must be there so long after its connection began, or after the answer before it. */
enum { CONNECTIONS_MAX = 128, HEADER_BYTES = 32 << 10, RECEIVE_S = 20, BACKLOG = 128, STREAM_BYTES = 4096 };
static const double WATCH_S = 0.02;

/* A connection. */
struct client {
    struct client *next, **before; /* shared, as are those below */
    int fd;
    bool receiving;
    double since;
};

/* A request and its answer. HTTP's thread. */
struct exchange {
    struct http *http;
    const struct route *route; /* NULL: there is none */
    struct job *job;           /* owned in part */
    struct MHD_Connection *connection;
    char *body; /* [n_body], owned */
    size_t n_body, capacity, n_dropped;
    bool refused, no_memory;
};

struct http {
    struct server *server;
    struct MHD_Daemon *daemon;
    struct client *clients;
    int fd;
    bool ip6;
    char where[NAME_BYTES + 32];
    double watched;
};

/* ---- replies ---- */

static enum MHD_Result send_reply(struct exchange *x, struct reply *reply)
{
    static const char last_resort[] = "{\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\","
                                      "\"param\":null,\"code\":\"out_of_memory\"}}";
    struct MHD_Response *response = reply->body ? MHD_create_response_from_buffer(reply->n_bytes, reply->body,
                                                                                  MHD_RESPMEM_MUST_FREE)
                                                : MHD_create_response_from_buffer(
                                                      strlen(last_resort), (void *)last_resort, MHD_RESPMEM_PERSISTENT);
    char seconds[16];
    if (!response) {
        free(reply->body);
        return MHD_NO;
    }
    snprintf(seconds, sizeof seconds, "%d", RETRY_AFTER_S);
    MHD_add_response_header(response, "Content-Type", reply->type ? reply->type : "application/json");
    if (reply->http == 429 || reply->http == 503)
        MHD_add_response_header(response, "Retry-After", seconds);
    if (reply->http == 401)
        MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (reply->allow)
        MHD_add_response_header(response, "Allow", reply->allow);
    metrics_count(x->http->server, route_index(x->route), reply->http);
    const enum MHD_Result result = MHD_queue_response(x->connection, (unsigned)reply->http, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result refuse(struct exchange *x, int http, const char *code, const char *message)
{
    struct reply reply;
    x->refused = true;
    reply_plain_error(&reply, http, code, message);
    reply.allow = http == 405 ? x->route->method : NULL;
    return send_reply(x, &reply);
}

/* ---- before the body ---- */

static const char *header_of(const struct exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

/* Takes as long whatever of it is right. */
static bool is_key(const struct server *server, const char *given)
{
    static const char scheme[] = "Bearer ";
    if (!given || strncasecmp(given, scheme, sizeof scheme - 1) != 0)
        return false;
    given += sizeof scheme - 1;
    const size_t n = strlen(given);
    unsigned wrong = n != server->n_api_key;
    for (size_t i = 0; i < n; i++)
        wrong |= (unsigned)(unsigned char)(given[i] ^ server->api_key[i % server->n_api_key]);
    return !wrong;
}

/* A web page can give its own name this machine's address: then the browser sends that name. */
static bool is_this_machine(const char *host)
{
    if (!host)
        return true;
    const size_t n = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    return (n == 9 && !strncasecmp(host, "localhost", n)) || (n == 5 && !strncmp(host, "[::1]", n)) ||
           (!strncmp(host, "127.", 4) && strspn(host, "0123456789.") == n);
}

static bool is_json(const char *type)
{
    static const char json[] = "application/json";
    return type && !strncasecmp(type, json, sizeof json - 1) && strchr("; \t", type[sizeof json - 1]);
}

static size_t max_body(const struct server *server)
{
    return (size_t)server->options->max_body_kib << 10;
}

static enum MHD_Result check_head(struct exchange *x, const char *method)
{
    const struct server *server = x->http->server;
    const bool post = !strcmp(method, "POST");
    const char *length = header_of(x, "Content-Length");
    if (server->loopback && !server->api_key && !is_this_machine(header_of(x, "Host")))
        return refuse(x, 403, "forbidden_host", "this server answers to names of its own machine only");
    if (server->api_key && !(x->route && x->route->is_open) && !is_key(server, header_of(x, "Authorization")))
        return refuse(x, 401, "invalid_api_key", "an API key is needed: Authorization: Bearer KEY");
    if (!x->route)
        return refuse(x, 404, "not_found", "there is no such path");
    if (strcmp(method, x->route->method) != 0 && !(!strcmp(method, "HEAD") && !strcmp(x->route->method, "GET")))
        return refuse(x, 405, "method_not_allowed", "this path has another method");
    if (post && !is_json(header_of(x, "Content-Type")))
        return refuse(x, 415, "unsupported_media_type", "Content-Type: must be application/json");
    if (length && strtoull(length, NULL, 10) > max_body(server))
        return refuse(x, 413, "body_too_large", "the body is larger than this server takes");
    return MHD_YES;
}

static enum MHD_Result begin(struct http *http, struct MHD_Connection *connection, const char *url, const char *method,
                             void **context)
{
    struct exchange *x = calloc(1, sizeof *x);
    const struct route *route;
    if (!x)
        return MHD_NO;
    *context = x;
    x->http = http;
    x->connection = connection;
    for (size_t i = 0; (route = route_at(i)); i++)
        if (!strcmp(route->path, url))
            x->route = route;
    return check_head(x, method);
}

/* ---- the body ---- */

static enum MHD_Result take_body(struct exchange *x, const char *bytes, size_t *n_bytes)
{
    const size_t n = *n_bytes, most = max_body(x->http->server);
    *n_bytes = 0;
    if (x->n_dropped || n > most - x->n_body) { /* of unknown length: what is too much is read, and not kept */
        x->n_dropped += n;
        return x->n_dropped <= most ? MHD_YES : MHD_NO;
    }
    if (n > x->capacity - x->n_body && !x->no_memory) {
        const size_t capacity = 2 * (x->n_body + n) < most ? 2 * (x->n_body + n) : most;
        char *body = realloc(x->body, capacity);
        x->no_memory = !body;
        x->body = body ? body : x->body;
        x->capacity = body ? capacity : x->capacity;
    }
    if (!x->no_memory) {
        memcpy(x->body + x->n_body, bytes, n);
        x->n_body += n;
    }
    return MHD_YES;
}

/* ---- answers of jobs ---- */

static ssize_t read_stream(void *user, uint64_t position, char *bytes, size_t n_bytes)
{
    struct exchange *x = user;
    struct job *job = x->job;
    ssize_t n = 0;
    (void)position;
    mtx_lock(&job->server->lock);
    if (job->n_taken < job->n_out) {
        const size_t left = job->n_out - job->n_taken;
        n = (ssize_t)(left < n_bytes ? left : n_bytes);
        memcpy(bytes, job->out + job->n_taken, (size_t)n);
        job->n_taken += (size_t)n;
    } else if (job->broken) {
        n = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (job->done) {
        n = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        job->suspended = true;
        MHD_suspend_connection(x->connection);
    }
    mtx_unlock(&job->server->lock);
    return n;
}

static enum MHD_Result begin_stream(struct exchange *x)
{
    struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BYTES, read_stream, x,
                                                                      NULL);
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, "Content-Type", "text/event-stream");
    MHD_add_response_header(response, "Cache-Control", "no-store");
    metrics_count(x->http->server, route_index(x->route), 200);
    const enum MHD_Result result = MHD_queue_response(x->connection, 200, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer_job(struct exchange *x)
{
    struct job *job = x->job;
    struct reply reply = {.http = 0};
    mtx_lock(&job->server->lock);
    const bool broken = job->broken, streaming = job->streaming, done = job->done;
    if (!broken && !streaming && done) {
        reply = (struct reply){
            .http = job->error.http ? job->error.http : 200, .body = job->out, .n_bytes = job->n_out};
        job->out = NULL;
        job->n_out = job->out_capacity = 0;
    } else if (!broken && !streaming) {
        job->suspended = true;
        MHD_suspend_connection(x->connection);
    }
    mtx_unlock(&job->server->lock);
    if (broken)
        return MHD_NO;
    return streaming ? begin_stream(x) : reply.http ? send_reply(x, &reply) : MHD_YES;
}

static struct client *client_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

static void set_receiving(struct server *server, struct client *client, bool receiving)
{
    if (!client)
        return;
    mtx_lock(&server->lock);
    client->receiving = receiving;
    client->since = clock_s();
    mtx_unlock(&server->lock);
}

/* False: nobody would take it any more. */
static bool queue_job(struct exchange *x, struct job *job)
{
    struct server *server = x->http->server;
    const struct client *client = client_of(x->connection);
    mtx_lock(&server->lock);
    if (server->draining || server->failed) {
        mtx_unlock(&server->lock);
        return false;
    }
    x->job = job;
    job->connection = x->connection;
    job->fd = client ? client->fd : -1;
    job->suspended = true;
    server->n_exchanges++;
    MHD_suspend_connection(x->connection);
    jobs_add(server, job);
    mtx_unlock(&server->lock);
    return true;
}

static enum MHD_Result answer(struct exchange *x)
{
    struct reply reply = {.http = 0};
    struct job *job = NULL;
    set_receiving(x->http->server, client_of(x->connection), false);
    if (x->n_dropped)
        return refuse(x, 413, "body_too_large", "the body is larger than this server takes");
    if (x->no_memory)
        return refuse(x, 500, "out_of_memory", "out of memory");
    x->route->answer(x->http->server, x->body ? x->body : "", x->n_body, &reply, &job);
    free(x->body);
    x->body = NULL;
    if (!job)
        return send_reply(x, &reply);
    if (queue_job(x, job))
        return MHD_YES;
    job_release(job);
    return refuse(x, 503, "unavailable", "this server is ending");
}

/* ---- callbacks of MHD ---- */

static enum MHD_Result on_request(void *user, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *n_upload, void **context)
{
    struct exchange *x = *context;
    (void)version;
    if (!x)
        return begin(user, connection, url, method, context);
    if (*n_upload)
        return take_body(x, upload, n_upload);
    if (x->refused)
        return MHD_YES;
    return x->job ? answer_job(x) : answer(x);
}

static void on_completed(void *user, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode how)
{
    struct exchange *x = *context;
    const struct http *http = user;
    (void)how;
    set_receiving(http->server, client_of(connection), true);
    *context = NULL;
    if (!x)
        return;
    if (x->job) {
        mtx_lock(&http->server->lock);
        x->job->connection = NULL;
        x->job->fd = -1;
        x->job->suspended = false;
        x->job->gone = true;
        http->server->n_exchanges--;
        mtx_unlock(&http->server->lock);
        job_release(x->job);
    }
    free(x->body);
    free(x);
}

static void on_connection(void *user, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http *http = user;
    struct client *client = *context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        client = calloc(1, sizeof *client);
        *context = client;
        if (!client)
            return;
        client->fd = info ? info->connect_fd : -1;
        client->receiving = true;
        client->since = clock_s();
        mtx_lock(&http->server->lock);
        client->next = http->clients;
        client->before = &http->clients;
        if (client->next)
            client->next->before = &client->next;
        http->clients = client;
        mtx_unlock(&http->server->lock);
    } else if (client) {
        mtx_lock(&http->server->lock);
        *client->before = client->next;
        if (client->next)
            client->next->before = client->before;
        mtx_unlock(&http->server->lock);
        free(client);
        *context = NULL;
    }
}

/* ---- the main thread's part ---- */

void http_wake(struct job *job)
{
    struct MHD_Connection *connection = NULL;
    mtx_lock(&job->server->lock);
    if (job->suspended && (job->done || (job->streaming && job->n_out > job->n_taken))) {
        connection = job->connection;
        job->suspended = false;
    }
    mtx_unlock(&job->server->lock);
    if (connection) /* which sleeps until this call: nobody else wakes it */
        MHD_resume_connection(connection);
}

/* A client that has ended its side does not wait for an answer; nor does one whose connection broke. */
static bool is_gone(int fd)
{
#ifdef POLLRDHUP
    struct pollfd seen = {.fd = fd, .events = POLLRDHUP};
    return poll(&seen, 1, 0) > 0 && seen.revents;
#else
    char byte;
    const ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
#endif
}

void http_watch(struct http *http)
{
    struct server *server = http->server;
    const double now = clock_s();
    if (now - http->watched < WATCH_S)
        return;
    http->watched = now;
    mtx_lock(&server->lock);
    for (int at_work = 0; at_work < 2; at_work++)
        for (struct job *job = at_work ? server->jobs : server->queue; job; job = job->next)
            if (job->fd >= 0 && is_gone(job->fd))
                job->gone = true;
    for (struct client *client = http->clients; client; client = client->next)
        if (client->receiving && now - client->since > RECEIVE_S) {
            client->receiving = false;
            shutdown(client->fd, SHUT_RDWR); /* MHD sees that and closes it */
        }
    mtx_unlock(&server->lock);
}

void http_close_door(struct http *http)
{
    const MHD_socket fd = http->daemon ? MHD_quiesce_daemon(http->daemon) : MHD_INVALID_SOCKET;
    if (fd != MHD_INVALID_SOCKET)
        close(fd);
    http->fd = -1;
}

/* ---- life ---- */

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return (ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24) == 127;
    return address->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

static enum mn_status bind_to(struct http *http, const struct addrinfo *found, const char *host, uint32_t port)
{
    const struct mn_log *log = http->server->log;
    const int yes = 1;
    http->ip6 = found->ai_family == AF_INET6;
    http->server->loopback = is_loopback(found->ai_addr);
    http->fd = socket(found->ai_family, SOCK_STREAM, 0);
    if (http->fd < 0 || fcntl(http->fd, F_SETFD, FD_CLOEXEC) || fcntl(http->fd, F_SETFL, O_NONBLOCK) ||
        setsockopt(http->fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) ||
        (http->ip6 && setsockopt(http->fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes)) ||
        bind(http->fd, found->ai_addr, found->ai_addrlen))
        return log_fail(log, MN_ERR_RUN, "--host %s --port %" PRIu32 ": %s", host, port, strerror(errno));
    return MN_OK;
}

enum mn_status http_open(struct http **out, struct server *server)
{
    const struct serve_options *options = server->options;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char port[8];
    struct http *http = calloc(1, sizeof *http);
    *out = http;
    if (!http)
        return log_fail(server->log, MN_ERR_MEMORY, "out of host memory for a server");
    http->server = server;
    http->fd = -1;
    snprintf(port, sizeof port, "%" PRIu32, options->port);
    const int wrong = getaddrinfo(options->host, port, &hints, &found);
    if (wrong)
        return log_fail(server->log, MN_ERR_USAGE, "--host %s: %s", options->host, gai_strerror(wrong));
    enum mn_status status = bind_to(http, found, options->host, options->port);
    freeaddrinfo(found);
    return status;
}

static enum mn_status find_port(struct http *http, uint32_t *port)
{
    struct sockaddr_storage bound;
    socklen_t n = sizeof bound;
    if (listen(http->fd, BACKLOG) || getsockname(http->fd, (struct sockaddr *)(void *)&bound, &n))
        return log_fail(http->server->log, MN_ERR_RUN, "--port: %s", strerror(errno));
    *port = ntohs(http->ip6 ? ((struct sockaddr_in6 *)(void *)&bound)->sin6_port
                            : ((struct sockaddr_in *)(void *)&bound)->sin_port);
    return MN_OK;
}

enum mn_status http_start(struct http *http)
{
    uint32_t port = 0;
    enum mn_status status = find_port(http, &port);
    if (status)
        return status;
    http->daemon = MHD_start_daemon(
        MHD_USE_AUTO_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | (http->ip6 ? MHD_USE_IPv6 : 0), 0, NULL, NULL,
        on_request, http, MHD_OPTION_LISTEN_SOCKET, http->fd, MHD_OPTION_NOTIFY_COMPLETED, on_completed, http,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, http, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_BYTES, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)RECEIVE_S,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    if (!http->daemon)
        return log_fail(http->server->log, MN_ERR_RUN, "HTTP cannot be started: %s", strerror(errno));
    fprintf(cli_notes(), "muninn: listening on http://%s%s%s:%" PRIu32 "\n", http->ip6 ? "[" : "",
            http->server->options->host, http->ip6 ? "]" : "", port);
    fflush(cli_notes());
    return MN_OK;
}

void http_destroy(struct http *http)
{
    if (!http)
        return;
    if (http->daemon)
        MHD_stop_daemon(http->daemon);
    else if (http->fd >= 0)
        close(http->fd);
    free(http);
}
