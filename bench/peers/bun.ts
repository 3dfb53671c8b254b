// The peer in the benchmark: as little as Bun's WebSocket server needs to do the same job, so that it shows what
// the machine can do. Joins are not checked, RPC frames are trusted.
//
// Usage: bun peer.ts WS_PORT RPC_PORT
const [wsPort, rpcPort] = process.argv.slice(2).map(Number);
const HEADER = 20; // five words: twelve bytes, then sequence number and length of the method name
const OK = Buffer.from([0x08, 0x01]);

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: wsPort,
  fetch: (request, self) => (self.upgrade(request) ? undefined : new Response("no", { status: 400 })),
  websocket: {
    message(socket, text) {
      const { topics } = JSON.parse(text as string);
      for (const topic of topics) socket.subscribe(topic);
      socket.send(JSON.stringify({ topic: "@join", payload: topics }));
    },
  },
});

function readLength(bytes: Buffer, at: number): [length: number, next: number] {
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++];
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return [value, at];
  }
}

// The protobuf request: messages (field 1) with topics (field 2) and one payload (field 3).
function publish(body: Buffer) {
  for (let at = 0; at < body.length; ) {
    const [size, start] = readLength(body, at + 1);
    const end = start + size;
    const topics: string[] = [];
    let payload = "";
    for (at = start; at < end; ) {
      const field = body[at] >> 3;
      const [length, value] = readLength(body, at + 1);
      at = value + length;
      const text = body.toString("utf8", value, at);
      if (field === 2) topics.push(text);
      else if (field === 3) payload = text;
    }
    for (const topic of topics) server.publish(topic, JSON.stringify({ topic, payload }));
  }
}

function reply(call: Buffer, method: number): Buffer {
  const frame = Buffer.alloc(HEADER + method + OK.length);
  call.copy(frame, 0, 0, HEADER + method);
  frame.writeUInt32LE(method + OK.length, 2);
  frame.writeUInt32LE(Bun.hash.crc32(frame.subarray(0, 6)), 6);
  OK.copy(frame, HEADER + method);
  return frame;
}

Bun.listen<{ rest: Buffer }>({
  hostname: "127.0.0.1",
  port: rpcPort,
  socket: {
    open(socket) {
      socket.data = { rest: Buffer.alloc(0) };
    },
    data(socket, chunk) {
      let bytes = socket.data.rest.length ? Buffer.concat([socket.data.rest, chunk]) : chunk;
      const replies: Buffer[] = [];
      while (bytes.length >= HEADER) {
        const size = HEADER + bytes.readUInt32LE(2);
        if (bytes.length < size) break;
        const method = bytes.readUInt32LE(16);
        publish(bytes.subarray(HEADER + method, size));
        replies.push(reply(bytes, method));
        bytes = bytes.subarray(size);
      }
      socket.data.rest = Buffer.from(bytes);
      if (replies.length) socket.write(Buffer.concat(replies));
    },
  },
});
