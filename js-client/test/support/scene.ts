/** What tests of a client begin with. */

import {afterEach, beforeEach} from 'node:test';
import {connect, type Client, type Options} from '../../src/index.js';
import {Clock, turn} from './clock.js';
import {FakeSocket, serve, type Manners} from './fake.js';

export let clock: Clock;

/** For each test of a file: a clock, and no sockets. */
export function eachTestHasAClock(): void {
  beforeEach(() => {
    FakeSocket.all = [];
    clock = Clock.start();
  });
  afterEach(() => clock.stop());
}

/** A client whose server is the test. */
export function client(options: Options = {}): Client {
  return connect('ws://server/ws', {WebSocket: FakeSocket, ...options});
}

/** A client that is connected to a server that answers, and has these topics. */
export async function connected(manners: Manners = {}, options: Options = {}): Promise<{client: Client; socket: FakeSocket}> {
  const made = client(options);
  await turn();
  const socket = serve(FakeSocket.last, manners);
  await turn();
  return {client: made, socket};
}

/** Let time pass until there is another socket. */
export async function nextAttempt(): Promise<void> {
  const before = FakeSocket.all.length;
  while (FakeSocket.all.length === before) await clock.pass(50);
}

/** Lose the connection, and let the next one be answered. */
export async function comesBack(manners: Manners = {}, code = 1006): Promise<FakeSocket> {
  FakeSocket.last.end(code);
  await nextAttempt();
  const socket = serve(FakeSocket.last, manners);
  await turn();
  return socket;
}

/** The values that a listener got, as they come. */
export function collect<V>(listen: (listener: (value: V) => void) => unknown): V[] {
  const values: V[] = [];
  listen((value) => { values.push(value); });
  return values;
}

export {turn};
