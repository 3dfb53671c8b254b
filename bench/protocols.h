// What peers speak that have a protocol of their own: for messages to clients in one topic each, nothing more.
// Numbers in formats: 1 the topic, 2 bytes of the payload, 3 bytes of the body around it.

enum { STEPS = 3 };

struct protocol {
  const char *name;
  const char *path;                            // of the WebSocket; NULL: lines over TCP, without frames
  struct { const char *say, *answer; } joining[STEPS];  // what a client says, if anything, and what it hears then
  const char *head, *tail;                     // what stands before and behind the payload of a message
  int several;                                 // a frame may have several messages, with a line feed between them
  const char *ping, *pong;                     // a line, and the answer to it
  const char *hello, *welcome;                 // of a publisher, and how the answer to it ends
  const char *call, *call_tail;                // what stands before and behind the payload of a call
  const char *reply, *reply_end;               // how its answer begins and ends
};

static const struct protocol protocols[] = {
    {
        // https://socket.io/docs/v4/engine-io-protocol and socket-io-protocol; publishers speak goridge to it
        .name = "socket.io",
        .path = "/socket.io/?EIO=4&transport=websocket",
        .joining = {{NULL, "0{"}, {"40", "40{"}, {"42[\"join\",\"topic-%1$06d\"]", "42[\"@join\"]"}},
        .head = "42[\"topic-%1$06d\",\"",
        .tail = "\"]",
    },
    {
        // https://docs.nats.io/reference/reference-protocols/nats-protocol; +OK to each line of a verbose client
        .name = "nats",
        .joining = {{NULL, "INFO {"}, {"CONNECT {\"verbose\":false}\r\nSUB topic-%1$06d 1\r\nPING\r\n", "PONG\r\n"}},
        .head = "MSG topic-%1$06d 1 %2$d\r\n",
        .tail = "\r\n",
        .ping = "PING\r\n",
        .pong = "PONG\r\n",
        .hello = "CONNECT {\"verbose\":true}\r\n",
        .welcome = "+OK\r\n",
        .call = "PUB topic-%1$06d %2$d\r\n",
        .call_tail = "\r\n",
        .reply = "+OK\r\n",
        .reply_end = "+OK\r\n",
    },
    {
        // https://centrifugal.dev/docs/transports/client_protocol, and its HTTP API
        .name = "centrifugo",
        .path = "/connection/websocket",
        .joining = {{"{\"id\":1,\"connect\":{}}", "\"connect\":{"},
                    {"{\"id\":2,\"subscribe\":{\"channel\":\"topic-%1$06d\"}}", "\"subscribe\":{"}},
        .head = "{\"push\":{\"channel\":\"topic-%1$06d\",\"pub\":{\"data\":\"",
        .tail = "\"}}}",
        .several = 1,
        .call = "POST /api/publish HTTP/1.1\r\nHost: bench\r\nX-API-Key: bench\r\nContent-Type: application/json\r\n"
                "Content-Length: %3$d\r\n\r\n{\"channel\":\"topic-%1$06d\",\"data\":\"",
        .call_tail = "\"}",
        .reply = "HTTP/1.1 200 OK\r\n",
        .reply_end = "{\"result\":{}}",
    },
};

// The bytes around the payload in the body of a call.
static const int body_size = sizeof "{\"channel\":\"topic-000000\",\"data\":\"\"}" - 1;

static const struct protocol *find_protocol(const char *name) {
  for (size_t one = 0; one < sizeof protocols / sizeof *protocols; one++)
    if (!strcmp(name, protocols[one].name)) return &protocols[one];
  return NULL;
}
