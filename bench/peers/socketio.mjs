// A peer in the benchmark: Socket.IO for Node.js, whose clients speak its own protocol: a topic is a room, and the
// name of its events. Joins are not checked; no ping falls into a measurement.
//
// Usage: node socketio.mjs WS_PORT RPC_PORT, in a directory where `socket.io` is installed
import {createRequire} from 'node:module';
import {createServer} from 'node:http';
import {listen} from './goridge.mjs';

const {Server} = createRequire(`${process.cwd()}/`)('socket.io');
const [wsPort, rpcPort] = process.argv.slice(2).map(Number);
const http = createServer();
const io = new Server(http, {transports: ['websocket'], serveClient: false, pingInterval: 600_000});

io.on('connection', (socket) => {
  socket.on('join', (topic) => {
    socket.join(topic);
    socket.emit('@join');
  });
});
http.listen(wsPort, '127.0.0.1');

listen(rpcPort, (topic, payload) => io.to(topic).emit(topic, payload));
