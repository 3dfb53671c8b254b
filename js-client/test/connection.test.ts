/** States, attempts, close codes, tokens, and what wakes a client. */

import assert from 'node:assert/strict';
import {test} from 'node:test';
import {connect, type StateChange} from '../src/index.js';
import {backoff} from '../src/timing.js';
import {FakeSocket, serve} from './support/fake.js';
import {client, clock, collect, comesBack, connected, eachTestHasAClock, nextAttempt, turn} from './support/scene.js';

eachTestHasAClock();

const states = (changes: StateChange[]) => changes.map(({state}) => state);

test('the time before an attempt is random between 0.5 s and a bound that doubles up to 20 s', () => {
  const bounds = (random: number) => {
    Math.random = () => random;
    return [0, 1, 2, 3, 4, 5, 6, 100, 5000].map((failures) => backoff(failures));
  };
  assert.deepEqual(bounds(0), [500, 500, 500, 500, 500, 500, 500, 500, 500]);
  assert.deepEqual(bounds(1), [1000, 1500, 2500, 4500, 8500, 16500, 20000, 20000, 20000]);
});

test('states have reasons, and waiting says how long', async () => {
  const one = client();
  const changes = collect<StateChange>((listener) => one.on('state', listener));
  assert.equal(one.state, 'connecting');
  FakeSocket.last.open();
  FakeSocket.last.end(1001);
  assert.deepEqual(changes, [
    {state: 'connected', reason: ''},
    {state: 'waiting', reason: 'the server stops, or the page is left', code: 1001, delay: 750},
  ]);
  await clock.pass(749);
  assert.equal(FakeSocket.all.length, 1);
  await clock.pass(1);
  assert.equal(FakeSocket.all.length, 2);
  assert.equal(one.state, 'connecting');
});

test('attempts that fail are further and further apart', async () => {
  const one = client();
  const times = [0];
  const began = clock.now;
  for (let attempt = 0; attempt < 8; attempt++) {
    FakeSocket.last.end();
    while (one.state === 'waiting') await clock.pass(50);
    times.push(clock.now - began);
  }
  const gaps = times.slice(1).map((time, at) => time - (times[at] as number));
  assert.deepEqual(gaps, [750, 1000, 1500, 2500, 4500, 8500, 10500, 10500]);
});

test('a connection that ends at once does not make the next attempt come sooner, one that lived does', async () => {
  const one = client();
  const delays = () => collect<StateChange>((listener) => one.on('state', listener));
  const changes = delays();
  for (let attempt = 0; attempt < 3; attempt++) {
    serve(FakeSocket.last).end(1013);
    await nextAttempt();
  }
  serve(FakeSocket.last);
  await clock.pass(5_000);
  FakeSocket.last.end(1013);
  const found = changes.filter(({state}) => state === 'waiting').map(({delay}) => delay);
  assert.deepEqual(found, [750, 1000, 1500, 750]);
});

for (const code of [1000, 1001, 1005, 1006, 1011, 1012, 1013, 4000, 4001, 4499, 5000]) {
  test(`after close code ${code} it comes back`, async () => {
    const {client: one} = await connected();
    FakeSocket.last.end(code);
    assert.equal(one.state, 'waiting');
    await nextAttempt();
    assert.equal(FakeSocket.all.length, 2);
  });
}

for (const code of [1008, 4500, 4999]) {
  test(`after close code ${code} it stays away until it is asked to come back`, async () => {
    const {client: one} = await connected();
    const topic = one.topic('news');
    const ended = topic[Symbol.asyncIterator]().next();
    const changes = collect<StateChange>((listener) => one.on('state', listener));
    FakeSocket.last.end(code, 'banned');
    await clock.pass(1_000_000);
    assert.deepEqual(changes, [{state: 'closed', reason: 'banned', code}]);
    assert.deepEqual(await ended, {value: undefined, done: true});
    assert.equal(FakeSocket.all.length, 1);
    assert.equal(clock.waiting, 0);
    one.reconnect();
    serve(FakeSocket.last);
    await turn();
    assert.equal(topic.state, 'joined');
  });
}

test('closing ends everything, and nothing of the old connection is heard', async () => {
  const {client: one, socket} = await connected();
  const messages = collect((listener) => one.topic('news').on('message', listener));
  await turn();
  one.close();
  assert.equal(socket.closedWith, 1000);
  socket.push('news', 'late');
  socket.end(1006);
  await clock.pass(100_000);
  assert.deepEqual([one.state, one.reason, messages], ['closed', 'closed by the application', []]);
  assert.equal(clock.waiting, 0);
});

test('a listener may close the client while it connects, waits or is told that it is connected', async () => {
  for (const when of ['connecting', 'connected', 'waiting'] as const) {
    FakeSocket.all = [];
    const one = client();
    one.on('state', ({state}) => { if (state === when) one.close(); });
    FakeSocket.last.open();
    FakeSocket.last.end(1006);
    await clock.pass(20_000);
    await clock.pass(20_000);
    assert.equal(one.state, 'closed', when);
    assert.equal(clock.waiting, 0);
  }
});

test('a handshake that is not answered is given up', async () => {
  const one = client();
  await clock.pass(14_999);
  assert.equal(one.state, 'connecting');
  await clock.pass(1);
  assert.deepEqual([one.state, one.reason], ['waiting', 'no answer to the handshake']);
});

test('what can never work is an error at once', () => {
  assert.throws(() => connect('ws://server/ws', {WebSocket: undefined as never}), /WebSocket/);
  assert.throws(() => client({WebSocket: class { constructor() { throw new Error('not from https'); } } as never}), /https/);
  assert.throws(() => connect('no url', {WebSocket: FakeSocket}), /Invalid URL/);
  assert.equal(clock.waiting, 0);
});

test('http and https are taken for ws and wss, as pages have them', () => {
  connect(new URL('https://server/ws?a=1'), {WebSocket: FakeSocket});
  assert.equal(FakeSocket.last.url, 'wss://server/ws?a=1');
});

// Tokens

test('a token is got once and kept while connections come about with it', async () => {
  let asked = 0;
  connect((token) => `ws://server/ws?token=${token}`, {
    WebSocket: FakeSocket,
    token: async () => `t${++asked}`,
    protocols: (token) => ['rr.json', `rr-token.${token}`],
  });
  await turn();
  assert.equal(FakeSocket.last.url, 'ws://server/ws?token=t1');
  assert.deepEqual(FakeSocket.last.protocols, ['rr.json', 'rr-token.t1']);
  FakeSocket.last.open();
  await comesBack();
  assert.equal(FakeSocket.last.url, 'ws://server/ws?token=t1');
  await comesBack({}, 4001);  // it has expired
  assert.equal(FakeSocket.last.url, 'ws://server/ws?token=t2');
  FakeSocket.last.end(1006);
  await nextAttempt();
  FakeSocket.last.end(1006);  // the handshake was refused: perhaps because of the token
  await nextAttempt();
  assert.equal(FakeSocket.last.url, 'ws://server/ws?token=t3');
});

test('there is one question for a token at a time, whatever wakes the client meanwhile', async () => {
  const answers: ((token: string) => void)[] = [];
  const one = client({token: () => new Promise((resolve) => { answers.push(resolve); })});
  await turn();
  const sleeper = one as unknown as {sleep(): void; wake(): void};
  for (let time = 0; time < 3; time++) {
    sleeper.sleep();
    sleeper.wake();
    await turn();
  }
  assert.equal(answers.length, 1);
  answers[0]?.('t');
  await turn();
  assert.equal(FakeSocket.all.length, 1);
});

test('a reconnect as somebody else takes no token of before', async () => {
  const answers: ((token: string) => void)[] = [];
  const one = connect((token) => `ws://server/${token}`, {
    WebSocket: FakeSocket,
    token: () => new Promise((resolve) => { answers.push(resolve); }),
  });
  await turn();
  one.reconnect();
  await turn();
  answers[0]?.('ann');
  await turn();
  assert.equal(FakeSocket.all.length, 0);
  answers[1]?.('bob');
  await turn();
  assert.equal(FakeSocket.last.url, 'ws://server/bob');
});

test('a token that cannot be got is tried for again; none at all is the end', async () => {
  const answers = [() => { throw new Error('no network'); }, () => Promise.reject(new Error('500')), () => null];
  const one = client({token: () => (answers.shift() as () => null)()});
  await turn();
  assert.deepEqual([one.state, one.reason], ['waiting', 'no token: no network']);
  await clock.pass(750);
  assert.deepEqual([one.state, one.reason], ['waiting', 'no token: 500']);
  await clock.pass(1_000);
  assert.deepEqual([one.state, one.reason], ['closed', 'there is no token']);
  assert.equal(FakeSocket.all.length, 0);
});

// What a browser tells

/** Be a browser for a while: a page, and a window with its events. */
async function asBrowser(act: (fire: (type: string) => void, page: {visibilityState: string}) => Promise<void>): Promise<void> {
  const target = new EventTarget();
  const page = Object.assign(new EventTarget(), {visibilityState: 'visible'});
  const scope = globalThis as unknown as {[key: string]: unknown};
  const listeners = {
    addEventListener: target.addEventListener.bind(target),
    removeEventListener: target.removeEventListener.bind(target),
    document: page,
  };
  Object.assign(scope, listeners);
  try {
    await act((type) => (type === 'visibilitychange' ? page : target).dispatchEvent(new Event(type)), page);
  } finally {
    for (const name of Object.keys(listeners)) delete scope[name];
  }
}

test('the network or the page that comes back ends the wait', async () => {
  await asBrowser(async (fire, page) => {
    const one = client();
    for (const type of ['online', 'pageshow', 'visibilitychange']) {
      FakeSocket.last.end(1006);
      assert.equal(one.state, 'waiting');
      fire('offline');
      assert.equal(one.state, 'waiting');
      fire(type);
      assert.equal(one.state, 'connecting', type);
    }
    FakeSocket.last.end(1006);
    page.visibilityState = 'hidden';
    fire('visibilitychange');
    assert.equal(one.state, 'waiting');
    one.close();
    fire('online');
    assert.equal(one.state, 'closed');
  });
});

test('the network or the page that comes back or goes has the connection tried', async () => {
  await asBrowser(async (fire) => {
    const {socket} = await connected();
    for (const type of ['online', 'offline', 'pageshow', 'visibilitychange']) {
      const before = socket.pings;
      fire(type);
      fire(type);  // one question at a time
      assert.equal(socket.pings, before + 1, type);
      await turn();
    }
  });
});

test('a page that goes into the back/forward cache has no connection, and gets one when it comes back', async () => {
  await asBrowser(async (fire) => {
    const {client: one, socket} = await connected();
    fire('pagehide');
    assert.deepEqual([one.state, one.reason, socket.closedWith], ['waiting', 'the page is left', 1000]);
    await clock.pass(1_000_000);
    assert.equal(FakeSocket.all.length, 1);
    fire('pageshow');
    assert.equal(FakeSocket.all.length, 2);
  });
});

test('a socket that the browser closed without a word is noticed when the page is shown', async () => {
  await asBrowser(async (fire) => {
    const {client: one, socket} = await connected();
    socket.readyState = 3;
    fire('pageshow');
    assert.deepEqual([one.state, one.reason], ['waiting', 'connection lost']);
  });
});

test('the id is sent once on each connection, and stays', async () => {
  const {client: one, socket} = await connected();
  assert.match(one.me, /^[a-z0-9]{1,64}$/);
  for (const name of ['a', 'b']) {
    one.topic(name);
    await turn();
  }
  assert.deepEqual(socket.sent.map(({me}) => me), [one.me, undefined]);
  assert.equal((await comesBack()).sent[0]?.me, one.me);
  for (const me of ['mine', '😀'.repeat(64)]) assert.equal(client({me}).me, me);
  const user = 42 as unknown as string;  // of a page without types
  assert.equal((await connected({}, {me: user})).client.me, '42');
  // Nobody could exclude it: the server ignores such a name, and publishers may not say it.
  for (const me of ['', 'x'.repeat(65)]) assert.throws(() => client({me}), /me has 1 to 64 characters/);
});

test('states are told in order', async () => {
  const {client: one} = await connected();
  const changes = collect<StateChange>((listener) => one.on('state', listener));
  await comesBack();
  assert.deepEqual(states(changes), ['waiting', 'connecting', 'connected']);
});
