// The load generator: WebSocket clients that join topics, and publishers over goridge RPC, in one thread.
//
// It shares no code with the server, and takes commands, a line each, on stdin; each is answered by a line of
// JSON on stdout. Whatever is lost, doubled, changed or out of order ends it, with {"error": ...}.
//
//   connect port=P count=N [topics=1 each=1 parallel=64 size=100 content=FILE deflate=0 joins=FILE
//       needle=TEXT frames=0 protocol=NAME]
//       Client i is in `each` topics of `topics`, or sends line i of the file, each line a command. It is there when
//       the answer has the needle, and `frames` messages have followed. With a protocol of protocols.h, clients and
//       publishers speak that, and each client is in one topic.
//   publish [rpc=P seconds=1 most=0 window=1 rate=0 publishers=1 per_call=1 method=broadcast.Publish patience=5]
//       For so many seconds, or messages; topic after topic. With `rate`, so many messages in a second: how long
//       they took counts from when they were due. Over when all have arrived. When nobody is connected: topics=1
//       first=0 size=100.
//   expect most=N       Answered at once: somebody else will publish so many messages. Then `publish` without `rpc`
//       awaits them.
//   idle seconds=S      answers pings
//   close               resets all connections
//
// A payload is the number of the message, ten digits and a colon, and padding. All in it is compared.
//
// Build: cc -O2 -o load load.c
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "protocols.h"

enum { NUMBER = 11, HEAD = 96, RING = 1 << 20, BATCH = 64, BUFFER = 1 << 20 };
static const uint64_t SECOND = 1000000000, PATIENCE = 10 * SECOND;

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * SECOND + time.tv_nsec;
}

_Noreturn static void fail(const char *format, ...) {
  char text[512];
  va_list values;
  va_start(values, format);
  vsnprintf(text, sizeof text, format, values);
  va_end(values);
  for (char *at = text; *at; at++)
    if (*at == '"' || *at == '\\' || *at < ' ' || *at > '~') *at = '.';
  printf("{\"error\": \"%s\"}\n", text);
  exit(1);
}

static void *room(void *old, size_t size) {
  void *new = realloc(old, size);
  if (!new) fail("no memory for %zu bytes", size);
  return new;
}

// How long things took: 64 steps for each power of two.

static uint64_t taken[64 * 64], taken_count, taken_most;

static void took(uint64_t time) {
  int power = time < 64 ? 5 : 63 - __builtin_clzll(time);
  taken[time < 64 ? time : (uint64_t)(power - 5) * 64 + ((time >> (power - 6)) & 63)]++;
  taken_count++;
  if (time > taken_most) taken_most = time;
}

static double quantile(double part) {
  uint64_t rank = part * taken_count, seen = 0;
  for (int step = 0; step < 64 * 64; step++)
    if ((seen += taken[step]) > rank) {
      int power = step / 64 + 5;
      return (step < 64 ? (double)step : (double)((1ull << power) + ((uint64_t)(step % 64) << (power - 6)))) / 1e3;
    }
  return taken_most / 1e3;
}

// What the clients are in, and what is published there.

static const struct protocol *protocol;         // of peers that have their own
static int topics, each, size, deflate, plain;  // plain: messages are compared, not only counted
static char (*heads)[HEAD];                     // the beginning of a push, by topic
static size_t head_size;
static char *padding, *tail;                    // behind the number: of the payload, of the push
static size_t tail_size;
static char (*numbers)[NUMBER + 1];             // of the messages on their way
static uint64_t *sent;                          // when they were due
static uint32_t *members;                       // clients, by topic
static uint64_t published, wanted;              // messages so far; how often they have to arrive

static void set_topics(int count, int in_each, int bytes, const char *content) {
  topics = count, each = in_each, size = bytes < NUMBER ? NUMBER : bytes;
  heads = room(heads, sizeof *heads * topics);
  members = room(members, sizeof *members * topics);
  memset(members, 0, sizeof *members * topics);
  for (int topic = 0; topic < topics; topic++)
    head_size = snprintf(heads[topic], HEAD, protocol ? protocol->head : "{\"topic\":\"topic-%06d\",\"payload\":\"",
                         topic, size);
  padding = room(padding, size - NUMBER + 1);
  // Letters that differ, so that not all that is compressed is the same; or what an application has.
  for (int at = 0; at < size - NUMBER; at++) padding[at] = 'a' + (at * 7 + at / 11 * 5 + at / 97) % 26;
  FILE *file = content ? fopen(content, "r") : NULL;
  if (content && (!file || fread(padding, 1, size - NUMBER, file) != (size_t)(size - NUMBER)))
    fail("%s has not as much as a payload", content);
  if (file) fclose(file);
  const char *end = protocol ? protocol->tail : "\"}";
  tail = room(tail, 2 * size + strlen(end));
  tail_size = 0;
  for (int at = 0; at < size - NUMBER; at++) {
    if (padding[at] == '"') tail[tail_size++] = '\\';
    tail[tail_size++] = padding[at];
  }
  memcpy(tail + tail_size, end, strlen(end)), tail_size += strlen(end);
}

// The next message has to arrive.
static void now_due(uint64_t time) {
  snprintf(numbers[published % RING], NUMBER + 1, "%010llu:", (unsigned long long)published % 10000000000ull);
  sent[published % RING] = time;
  wanted += members[published++ % topics];
}

// WebSocket clients.

enum state { CONNECTING, HANDSHAKE, JOINING, FOLLOWING, READY };

struct client {
  int fd, first;              // first: of its topics
  uint8_t state, head_have, opcode, head[10], step;  // step: of joining
  uint64_t left, at;          // bytes of the current frame to come, and had
  uint64_t next, frames;      // the number of the next message; how many there were
  uint64_t began;
  char *text;                 // what is not compared on the way: answers, pings
  size_t text_size;
};

static int epoll, parallel, port, following;
static struct client *clients;
static int count, opened, there;
static uint64_t frames, wire;
static const char *needle;
static char **joins;
static int join_count;
static char buffer[BUFFER];

static void watch(int fd, uint32_t events, void *data, int how) {
  struct epoll_event event = {.events = events, .data.ptr = data};
  if (epoll_ctl(epoll, how, fd, &event)) fail("epoll: %s", strerror(errno));
}

static int dial(int to, int flags) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0), yes = 1;
  if (fd < 0) fail("socket: %s", strerror(errno));
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons(to), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (connect(fd, (void *)&address, sizeof address) && errno != EINPROGRESS) fail("connect: %s", strerror(errno));
  return fd;
}

static void say(struct client *client, const void *bytes, size_t many) {
  if (send(client->fd, bytes, many, MSG_NOSIGNAL) != (ssize_t)many) fail("a client cannot send: %s", strerror(errno));
}

static void say_frame(struct client *client, int opcode, const char *bytes, size_t many) {
  uint8_t *frame = room(NULL, many + 14), *at = frame;
  *at++ = 0x80 | opcode;
  if (many < 126) {
    *at++ = 0x80 | many;
  } else {
    *at++ = 0x80 | 126, *at++ = many >> 8, *at++ = many;
    if (many > 65535) fail("a command of %zu bytes", many);
  }
  memset(at, 0, 4);  // the mask
  memcpy(at + 4, bytes, many);
  say(client, frame, at + 4 + many - frame);
  free(frame);
}

static void say_hello(struct client *client) {
  char request[512];
  int many = snprintf(
      request, sizeof request,
      "GET %s HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nOrigin: http://bench\r\n%s\r\n",
      protocol ? protocol->path : "/ws",
      deflate ? "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" : "");
  say(client, request, many);
  client->state = HANDSHAKE;
}

// Say what is next in the protocol of a peer, if it is the client's turn.
static void say_next(struct client *client) {
  char text[128];
  const char *say_this = protocol->joining[client->step].say;
  if (!say_this) return;
  int many = snprintf(text, sizeof text, say_this, client->first);
  if (protocol->path) say_frame(client, 1, text, many);
  else say(client, text, many);
}

static void join(struct client *client) {
  client->state = JOINING;
  if (protocol) {
    say_next(client);
    return;
  }
  if (joins) {
    const char *line = joins[(client - clients) % join_count];
    say_frame(client, 1, line, strlen(line));
    return;
  }
  char *command = room(NULL, 100 + each * 16), *at = command;
  at += sprintf(at, "{\"command\":\"join\",\"broker\":\"default\",\"topics\":[");
  for (int topic = 0; topic < each; topic++)
    at += sprintf(at, "%s\"topic-%06d\"", topic ? "," : "", client->first + topic);
  at += sprintf(at, "],\"payload\":\"\"}");
  say_frame(client, 1, command, at - command);
  free(command);
}

static void is_there(struct client *client, uint64_t time) {
  client->state = READY;
  client->frames = 0;
  there++;
  took(time - client->began);
}

// The whole text of a frame that is not compared on its way.
static void heard(struct client *client, uint64_t time) {
  if (client->opcode == 9) {
    say_frame(client, 10, client->text, client->text_size);
  } else if (protocol && client->state == JOINING) {
    const char *answer = protocol->joining[client->step].answer;
    if (!memmem(client->text, client->text_size, answer, strlen(answer)))
      fail("%s was answered by %.*s", protocol->name, (int)(client->text_size < 200 ? client->text_size : 200), client->text);
    if (++client->step < STEPS && protocol->joining[client->step].answer) say_next(client);
    else is_there(client, time);
  } else if (client->state == JOINING) {
    if (!memmem(client->text, client->text_size, needle, strlen(needle)))
      fail("a join was answered by %.*s", (int)(client->text_size < 200 ? client->text_size : 200), client->text);
    client->state = FOLLOWING;
    if (!following) is_there(client, time);
  }
  free(client->text);
  client->text = NULL;
  client->text_size = 0;
}

// Bytes of a push, compared with what has to come.
static void compare(struct client *client, const char *bytes, size_t many) {
  size_t at = client->at;
  if (!at && !protocol && client->left != head_size + NUMBER + tail_size)
    fail("frames were not the expected ones: %zu bytes", (size_t)client->left);
  while (many) {
    const char *wanted;
    size_t rest;
    if (at < head_size)
      wanted = heads[client->next % topics] + at, rest = head_size - at;
    else if (at < head_size + NUMBER)
      wanted = numbers[client->next % RING] + at - head_size, rest = head_size + NUMBER - at;
    else
      wanted = tail + at - head_size - NUMBER, rest = head_size + NUMBER + tail_size - at;
    if (rest > many) rest = many;
    if (memcmp(bytes, wanted, rest))
      fail("frames were not the expected ones: %.*s instead of message %llu", (int)(many < 100 ? many : 100), bytes,
           (unsigned long long)client->next);
    bytes += rest, many -= rest, at += rest;
  }
}

static void one_more(struct client *client, uint64_t time) {
  frames++, client->frames++;
  if (client->state == FOLLOWING) {
    if (client->frames == (uint64_t)following) is_there(client, time);
    return;
  }
  if (time > sent[client->next % RING]) took(time - sent[client->next % RING]);
  client->next++;
  if (client->next % topics == (uint64_t)(client->first + each) % topics) client->next += topics - each;
}

// Bytes of messages of a peer, which may stand one behind the other.
static void compare_several(struct client *client, const char *bytes, size_t many, uint64_t time) {
  size_t whole = head_size + NUMBER + tail_size;
  while (many) {
    if (client->at == whole) {
      if (!protocol->several || *bytes != '\n') fail("more than a message in a frame");
      client->at = 0, bytes++, many--;
    }
    size_t part = whole - client->at < many ? whole - client->at : many;
    compare(client, bytes, part);
    client->at += part, bytes += part, many -= part;
    if (client->at == whole) wire += whole, one_more(client, time);
  }
}

// The lines of a peer that has no frames: what begins like a message is one.
static void read_lines(struct client *client, const char *bytes, size_t many, uint64_t time) {
  size_t whole = head_size + NUMBER + tail_size;
  for (const char *end = bytes + many; bytes < end;) {
    if (client->state == READY && !client->text && (client->at || *bytes == *protocol->head)) {
      size_t part = whole - client->at < (size_t)(end - bytes) ? whole - client->at : (size_t)(end - bytes);
      compare_several(client, bytes, part, time);
      bytes += part;
      if (client->at == whole) client->at = 0;
      continue;
    }
    client->text = room(client->text, client->text_size + 1);
    if ((client->text[client->text_size++] = *bytes++) != '\n') continue;
    if (client->text_size == strlen(protocol->ping) && !memcmp(client->text, protocol->ping, client->text_size))
      say(client, protocol->pong, strlen(protocol->pong));
    else if (client->state == READY && strncmp(client->text, "INFO ", 5))
      fail("%s said %.*s", protocol->name, (int)client->text_size, client->text);
    else if (client->state == JOINING) {
      heard(client, time);
      continue;
    }
    free(client->text);
    client->text = NULL, client->text_size = 0;
  }
}

static int head_length(const uint8_t *head) { return (head[1] & 127) < 126 ? 2 : (head[1] & 127) == 126 ? 4 : 10; }

static void begin_frame(struct client *client, const uint8_t *head, int length) {
  client->opcode = head[0] & 15;
  client->left = head[1] & 127;
  if (length > 2) client->left = 0;
  for (int at = 2; at < length; at++) client->left = client->left << 8 | head[at];
  client->at = 0;
  if (client->opcode == 8) fail("a client was closed");
  if (client->state == READY && client->opcode < 3 && head[0] != (deflate ? 0xC1 : 0x81))
    fail("a frame that begins with %02x", head[0]);
}

static void read_frames(struct client *client, const char *bytes, size_t many, uint64_t time) {
  const char *end = bytes + many;
  while (bytes < end) {
    if (!client->left) {
      while (client->head_have < 2 || client->head_have < head_length(client->head)) {
        if (bytes == end) return;
        client->head[client->head_have++] = *bytes++;
      }
      begin_frame(client, client->head, client->head_have);
      client->head_have = 0;
      if (!client->left) {
        if (client->opcode < 3) fail("an empty message");
        heard(client, time);
        continue;
      }
    }
    size_t part = client->left < (size_t)(end - bytes) ? client->left : (size_t)(end - bytes);
    int message = client->state >= FOLLOWING && client->opcode < 3;
    if (message && protocol) {
      compare_several(client, bytes, part, time);
      bytes += part, client->left -= part;
      if (!client->left && client->at != head_size + NUMBER + tail_size) fail("half a message in a frame");
      continue;
    }
    if (!message) {
      client->text = room(client->text, client->text_size + part + 1);
      memcpy(client->text + client->text_size, bytes, part);
      client->text_size += part;
    } else if (plain) {
      compare(client, bytes, part);
    }
    bytes += part, client->at += part, client->left -= part;
    if (client->left) return;
    if (message) wire += client->at, one_more(client, time);
    else heard(client, time);
  }
}

static void read_client(struct client *client) {
  ssize_t many = recv(client->fd, buffer, BUFFER, 0);
  if (many < 0 && errno == EAGAIN) return;
  if (many <= 0) fail("connection lost (%s)", many ? strerror(errno) : "end");
  uint64_t time = now();
  if (protocol && !protocol->path) {
    read_lines(client, buffer, many, time);
    return;
  }
  if (client->state != HANDSHAKE) {
    read_frames(client, buffer, many, time);
    return;
  }
  client->text = room(client->text, client->text_size + many + 1);
  memcpy(client->text + client->text_size, buffer, many);
  client->text[client->text_size += many] = 0;
  char *end = memmem(client->text, client->text_size, "\r\n\r\n", 4);
  if (!end) return;
  if (strncmp(client->text, "HTTP/1.1 101 ", 13)) fail("handshake refused: %.60s", client->text);
  char *head = client->text;
  size_t behind = head + client->text_size - (end += 4);
  if (behind && !protocol) fail("something behind the handshake");
  client->text = NULL;
  client->text_size = 0;
  join(client);
  read_frames(client, end, behind, time);
  free(head);
}

static void open_clients(void) {
  while (opened < count && opened - there < parallel) {
    struct client *client = &clients[opened];
    *client = (struct client){.began = now(), .first = opened % (topics / each) * each, .state = CONNECTING};
    client->next = client->first + published;
    client->fd = dial(port, SOCK_NONBLOCK);
    watch(client->fd, EPOLLOUT, client, EPOLL_CTL_ADD);
    for (int topic = 0; topic < each; topic++) members[client->first + topic]++;
    opened++;
  }
}

// Publishers.

struct publisher {
  int fd;
  uint32_t sequence, answered;
  int blocked;  // the kernel takes no more at the moment
  char *out;
  size_t out_size, out_room, out_at;
  char in[1 << 16];
  size_t in_size;
};

static struct publisher *publishers;
static int publisher_count, window, per_call, first_topic, timer = -1;
static uint64_t deadline, most, due_at, interval;
static const char *method;

static void put32(char *at, uint32_t value) { memcpy(at, &value, 4); }

static uint32_t crc(const char *bytes, int many) {
  uint32_t sum = ~0u;
  while (many--) {
    sum ^= (uint8_t)*bytes++;
    for (int bit = 0; bit < 8; bit++) sum = sum & 1 ? 0xEDB88320u ^ (sum >> 1) : sum >> 1;
  }
  return ~sum;
}

static char *varint(char *at, uint64_t value) {
  for (; value > 127; value >>= 7) *at++ = value | 128;
  *at++ = value;
  return at;
}

static int varint_size(uint64_t value) { return value > 127 ? 1 + varint_size(value >> 7) : 1; }

static int has_own_calls(void) { return protocol && protocol->call; }

// A goridge frame with one call: head, method, and for each message: topic (field 2), payload (field 3).
static void write_goridge_call(struct publisher *publisher, uint64_t time) {
  size_t name = strlen(method), message = 14 + 1 + varint_size(size) + size;
  size_t body = name + per_call * (1 + varint_size(message) + message);
  if (publisher->out_room < publisher->out_size + 20 + body)
    publisher->out = room(publisher->out, publisher->out_room = 2 * publisher->out_size + 20 + body);
  char *start = publisher->out + publisher->out_size, *at = start + 20;
  memset(start, 0, 20);
  start[0] = 0x15, start[1] = (char)0x80;  // version 1, five words; protobuf
  put32(start + 2, body), put32(start + 6, crc(start, 6));
  put32(start + 12, ++publisher->sequence), put32(start + 16, name);
  memcpy(at, method, name), at += name;
  for (int one = 0; one < per_call; one++) {
    *at++ = 0x0A, at = varint(at, message);
    at += sprintf(at, "\x12\x0ctopic-%06d\x1a", first_topic + (int)(published % topics));
    at = varint(at, size);
    now_due(time);
    memcpy(at, numbers[(published - 1) % RING], NUMBER), at += NUMBER;
    memcpy(at, padding, size - NUMBER), at += size - NUMBER;
  }
  publisher->out_size = at - publisher->out;
}

// The same in the protocol of a peer: one message.
static void write_own_call(struct publisher *publisher, uint64_t time) {
  size_t most_bytes = 512 + size;
  if (publisher->out_room < publisher->out_size + most_bytes)
    publisher->out = room(publisher->out, publisher->out_room = 2 * publisher->out_size + most_bytes);
  char *at = publisher->out + publisher->out_size;
  publisher->sequence++;
  at += sprintf(at, protocol->call, first_topic + (int)(published % topics), size, body_size + size);
  now_due(time);
  memcpy(at, numbers[(published - 1) % RING], NUMBER), at += NUMBER;
  memcpy(at, padding, size - NUMBER), at += size - NUMBER;
  memcpy(at, protocol->call_tail, strlen(protocol->call_tail)), at += strlen(protocol->call_tail);
  publisher->out_size = at - publisher->out;
}

static void write_call(struct publisher *publisher, uint64_t time) {
  if (has_own_calls()) write_own_call(publisher, time);
  else write_goridge_call(publisher, time);
}

static void write_out(struct publisher *publisher) {
  ssize_t gone = send(publisher->fd, publisher->out + publisher->out_at, publisher->out_size - publisher->out_at,
                      MSG_NOSIGNAL);
  if (gone < 0 && errno != EAGAIN) fail("a publisher cannot send: %s", strerror(errno));
  publisher->out_at += gone > 0 ? gone : 0;
  int blocked = publisher->out_at < publisher->out_size;
  if (blocked != publisher->blocked)
    watch(publisher->fd, EPOLLIN | (blocked ? EPOLLOUT : 0), publisher, EPOLL_CTL_MOD);
  if (!(publisher->blocked = blocked)) publisher->out_at = publisher->out_size = 0;
}

static int may_publish(uint64_t time) { return time < deadline && (!most || published < most); }

static void publish(struct publisher *publisher) {
  uint64_t time = now();
  while (publisher->sequence - publisher->answered < (uint32_t)window && may_publish(time))
    write_call(publisher, time);
  if (publisher->out_size && !publisher->blocked) write_out(publisher);
}

// Count the answers that are whole; return what they take. An answer to a ping goes before the next call.
static size_t read_own_replies(struct publisher *publisher, size_t have) {
  size_t at = 0, begins = strlen(protocol->reply), ping = protocol->ping ? strlen(protocol->ping) : 0;
  for (;;) {
    char *reply = publisher->in + at, *end;
    size_t rest = have - at;
    if (ping && rest >= ping && !memcmp(reply, protocol->ping, ping)) {
      if (send(publisher->fd, protocol->pong, strlen(protocol->pong), MSG_NOSIGNAL) < 0) fail("a publisher cannot send");
      at += ping;
      continue;
    }
    if (rest < begins) return at;
    if (memcmp(reply, protocol->reply, begins)) fail("a call was answered by %.*s", (int)(rest < 200 ? rest : 200), reply);
    if (!(end = memmem(reply, rest, protocol->reply_end, strlen(protocol->reply_end)))) return at;
    publisher->answered++, at = end + strlen(protocol->reply_end) - publisher->in;
  }
}

static void read_replies(struct publisher *publisher) {
  ssize_t many = recv(publisher->fd, publisher->in + publisher->in_size, sizeof publisher->in - publisher->in_size, 0);
  if (many < 0 && errno == EAGAIN) return;
  if (many <= 0) fail("the RPC connection was closed");
  size_t at = 0, have = publisher->in_size + many;
  if (has_own_calls()) at = read_own_replies(publisher, have);
  while (!has_own_calls() && have - at >= 20) {
    char *frame = publisher->in + at;
    uint32_t body, sequence;
    memcpy(&body, frame + 2, 4), memcpy(&sequence, frame + 12, 4);
    if (frame[0] != 0x15 || frame[1] & 0x40 || sequence != publisher->answered + 1)
      fail("call %u was answered by %.*s", publisher->answered + 1, (int)(have - at), frame);
    if (have - at < 20 + body) break;
    publisher->answered++, at += 20 + body;
  }
  memmove(publisher->in, publisher->in + at, publisher->in_size = have - at);
  if (!interval) publish(publisher);
}

// What is due by the clock goes out together, whatever is unanswered.
static void publish_due(void) {
  uint64_t turns;
  if (read(timer, &turns, sizeof turns) < 0) return;
  for (uint64_t time = now(); due_at <= time && may_publish(due_at); due_at += interval) write_call(publishers, due_at);
  if (publishers->out_size && !publishers->blocked) write_out(publishers);
}

// The loop. How long nothing was ready says whether the server could have got more.

static uint64_t idle_time;
static int input_ready;

static int is_publisher(struct publisher *what) {
  return publishers && what >= publishers && what < publishers + publisher_count;
}

static void turn(int timeout) {
  struct epoll_event events[BATCH];
  uint64_t began = now();
  int ready = epoll_wait(epoll, events, BATCH, timeout);
  idle_time += now() - began;
  for (int one = 0; one < ready; one++) {
    void *what = events[one].data.ptr;
    struct client *client = what;
    if (!what) {
      if (events[one].events & EPOLLHUP) exit(0);
      input_ready = 1;
    } else if (what == &timer) {
      publish_due();
    } else if (is_publisher(what)) {
      if (((struct publisher *)what)->blocked) write_out(what);
      read_replies(what);
    } else if (client->state == CONNECTING) {
      if (protocol && !protocol->path) join(client);
      else say_hello(client);
      watch(client->fd, EPOLLIN, client, EPOLL_CTL_MOD);
    } else {
      read_client(client);
    }
  }
}

// Commands.

static char line[4096];

static const char *value(const char *name, const char *otherwise) {
  static char values[8][1024];
  static int next;
  char key[64];
  snprintf(key, sizeof key, " %s=", name);
  const char *at = strstr(line, key);
  if (!at) return otherwise;
  char *copy = values[next = (next + 1) % 8];
  snprintf(copy, sizeof *values, "%.*s", (int)strcspn(at + strlen(key), " \n"), at + strlen(key));
  return copy;
}

static double number(const char *name, double otherwise) {
  const char *text = value(name, NULL);
  return text ? atof(text) : otherwise;
}

// What is counted during a command.
static struct { uint64_t time, idle, frames, wire; } start;

static void begin(void) {
  start.time = now(), start.idle = idle_time, start.frames = frames, start.wire = wire;
  memset(taken, 0, sizeof taken);
  taken_count = taken_most = 0;
}

static void answer(void) {
  double time = now() - start.time;
  printf("{\"messages\": %llu, \"frames\": %llu, \"wire\": %llu, \"seconds\": %.6f, \"idle\": %.4f, \"p50\": %.1f, "
         "\"p99\": %.1f, \"p999\": %.1f, \"most\": %.1f}\n",
         (unsigned long long)published, (unsigned long long)(frames - start.frames),
         (unsigned long long)(wire - start.wire), time / SECOND, (idle_time - start.idle) / time, quantile(.5),
         quantile(.99), quantile(.999), taken_most / 1e3);
}

static void read_joins(const char *path) {
  if (!path) return;
  FILE *file = fopen(path, "r");
  char *one = NULL;
  size_t space = 0;
  if (!file) fail("%s: %s", path, strerror(errno));
  for (ssize_t many; (many = getline(&one, &space, file)) > 0; one = NULL, space = 0) {
    one[many - (one[many - 1] == '\n')] = 0;
    joins = room(joins, sizeof *joins * (join_count + 1));
    joins[join_count++] = one;
  }
  fclose(file);
}

static void run_connect(void) {
  if (opened) fail("there are clients");
  port = number("port", 0), count = number("count", 1), parallel = number("parallel", 64);
  const char *name = value("protocol", NULL);
  protocol = name ? find_protocol(name) : NULL;
  if (name && !protocol) fail("no protocol is called %s", name);
  deflate = number("deflate", 0), following = number("frames", 0);
  set_topics(number("topics", 1), number("each", 1), number("size", 100), value("content", NULL));
  if (protocol && (each > 1 || size < NUMBER)) fail("a client of %s is in one topic", protocol->name);
  if (topics % each) fail("%d topics cannot be shared out by %d", topics, each);
  needle = strdup(value("needle", "\"@join\""));
  read_joins(value("joins", NULL));
  plain = !deflate && !joins;
  clients = room(clients, sizeof *clients * count);
  published = wanted = 0;
  begin();
  uint64_t last = now(), seen = 0;
  while (there < count) {
    open_clients();
    turn(100);
    if ((uint64_t)there + frames != seen) seen = there + frames, last = now();
    if (now() - last > PATIENCE) fail("%d of %d clients have joined, then nothing came", there, count);
  }
  answer();
}

// Messages that one client should have had of so many.
static uint64_t share(const struct client *client, uint64_t messages) {
  uint64_t rest = messages % topics, first = client->first;
  return messages / topics * each + (rest <= first ? 0 : rest - first < (uint64_t)each ? rest - first : (uint64_t)each);
}

static int all_answered(void) {
  for (int one = 0; one < publisher_count; one++)
    if (publishers[one].answered != publishers[one].sequence) return 0;
  return 1;
}

// What a peer wants to hear before calls, while the connection still blocks.
static void introduce(struct publisher *publisher) {
  const char *hello = protocol->hello, *welcome = protocol->welcome;
  size_t have = 0;
  if (send(publisher->fd, hello, strlen(hello), MSG_NOSIGNAL) < 0) fail("a publisher cannot send: %s", strerror(errno));
  while (have < strlen(welcome) || memcmp(publisher->in + have - strlen(welcome), welcome, strlen(welcome))) {
    ssize_t many = recv(publisher->fd, publisher->in + have, sizeof publisher->in - have, 0);
    if (many <= 0) fail("a publisher was answered by %.*s", (int)(have < 200 ? have : 200), publisher->in);
    have += many;
  }
}

static void start_publishers(void) {
  int rpc = number("rpc", 0);
  publisher_count = rpc ? number("publishers", 1) : 0;
  publishers = calloc(publisher_count + 1, sizeof *publishers);
  for (int one = 0; one < publisher_count; one++) {
    publishers[one].fd = dial(rpc, 0);
    if (protocol && protocol->hello) introduce(&publishers[one]);
    fcntl(publishers[one].fd, F_SETFL, O_NONBLOCK);
    watch(publishers[one].fd, EPOLLIN, &publishers[one], EPOLL_CTL_ADD);
  }
}

static void start_clock(double rate) {
  interval = SECOND / rate, due_at = start.time + interval, timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  struct timespec period = {interval / SECOND, interval % SECOND};
  timerfd_settime(timer, 0, &(struct itimerspec){period, period}, NULL);
  watch(timer, EPOLLIN, &timer, EPOLL_CTL_ADD);
}

static void stop_publishers(void) {
  if (timer >= 0) close(timer);
  timer = -1, interval = 0;
  for (int one = 0; one < publisher_count; one++) close(publishers[one].fd), free(publishers[one].out);
  free(publishers);
  publishers = NULL, publisher_count = 0;
}

static void begin_publishing(void) {
  published = wanted = 0;
  for (int one = 0; one < count; one++) clients[one].frames = 0, clients[one].next = clients[one].first;
  begin();
}

static void run_expect(void) {
  begin_publishing();
  for (uint64_t expected = number("most", 0); published < expected;) now_due(UINT64_MAX);
  answer();
}

static void run_publish(void) {
  if (!count) set_topics(number("topics", 1), 1, number("size", 100), NULL);
  window = number("window", 1), per_call = number("per_call", 1), most = number("most", 0);
  method = strdup(value("method", "broadcast.Publish")), first_topic = number("first", 0);
  uint64_t patience = number("patience", 5) * SECOND;
  start_publishers();
  if (publisher_count) begin_publishing();
  deadline = publisher_count ? start.time + number("seconds", most ? 1e6 : 1) * SECOND : 0;
  if (number("rate", 0) > 0)
    start_clock(number("rate", 0));
  else
    for (int one = 0; one < publisher_count; one++) publish(&publishers[one]);
  uint64_t last = now(), seen = 0;
  while (may_publish(now()) || !all_answered() || frames - start.frames < wanted) {
    turn(100);
    if (frames + published != seen) seen = frames + published, last = now();
    if (now() - last > patience)
      fail("%llu of %llu messages arrived", (unsigned long long)(frames - start.frames), (unsigned long long)wanted);
  }
  for (int one = 0; one < count; one++)
    if (clients[one].frames != share(&clients[one], published)) fail("a client has too many messages, or too few");
  answer();
  stop_publishers();
}

static void run_idle(void) {
  begin();
  uint64_t end = start.time + number("seconds", 1) * SECOND;
  for (uint64_t time; (time = now()) < end;) turn((end - time) / 1000000 + 1);
  answer();
}

static void run_close(void) {
  struct linger reset = {1, 0};  // no port is left waiting
  for (int one = 0; one < opened; one++) {
    setsockopt(clients[one].fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(clients[one].fd);
    free(clients[one].text);
  }
  for (int one = 0; one < join_count; one++) free(joins[one]);
  free(joins);
  joins = NULL;
  join_count = opened = count = there = 0;
  protocol = NULL;
  frames = wire = 0;
  begin();
  answer();
}

int main(void) {
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  setvbuf(stdout, NULL, _IOLBF, 4096);
  epoll = epoll_create1(EPOLL_CLOEXEC);
  numbers = calloc(RING, sizeof *numbers);
  sent = calloc(RING, sizeof *sent);
  watch(0, EPOLLIN, NULL, EPOLL_CTL_ADD);
  for (;;) {
    while (!input_ready) turn(-1);
    input_ready = 0;
    if (!fgets(line, sizeof line, stdin)) return 0;
    if (!strncmp(line, "connect ", 8)) run_connect();
    else if (!strncmp(line, "publish ", 8)) run_publish();
    else if (!strncmp(line, "expect ", 7)) run_expect();
    else if (!strncmp(line, "idle ", 5)) run_idle();
    else if (!strncmp(line, "close", 5)) run_close();
    else fail("what is %s", line);
  }
}
