// A peer in the benchmark: `ws` for Node.js, the server that most applications in JavaScript have. A message is encoded
// once and sent to each client, as its documentation says. Joins are not checked.
//
// Usage: node ws.mjs WS_PORT RPC_PORT, in a directory where `ws` is installed
import {createRequire} from 'node:module';
import {listen} from './goridge.mjs';

const {WebSocketServer} = createRequire(`${process.cwd()}/`)('ws');
const [wsPort, rpcPort] = process.argv.slice(2).map(Number);
const members = new Map();

new WebSocketServer({host: '127.0.0.1', port: wsPort}).on('connection', (socket) => {
  socket.on('message', (text) => {
    const {topics} = JSON.parse(text);
    for (const topic of topics) {
      if (!members.has(topic)) members.set(topic, new Set());
      members.get(topic).add(socket);
      socket.on('close', () => members.get(topic).delete(socket));
    }
    socket.send(JSON.stringify({topic: '@join', payload: topics}));
  });
  socket.on('error', () => {});
  socket.setMaxListeners(0);
});

listen(rpcPort, (topic, payload) => {
  const message = Buffer.from(JSON.stringify({topic, payload}));
  for (const socket of members.get(topic) ?? []) socket.send(message, {binary: false});
});
