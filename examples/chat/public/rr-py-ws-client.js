// rr-py-ws-client 0.1.0: made from js-client/ by `npm run build`, not to be edited.

// src/emitter.ts
var Emitter = class {
  constructor() {
    this.listeners = {};
  }
  on(event, listener) {
    var _a;
    const all = (_a = this.listeners)[event] ?? (_a[event] = /* @__PURE__ */ new Set());
    all.add(listener);
    return () => void all.delete(listener);
  }
  /** Call the listeners; one that fails is reported as an uncaught error, and the others are called. */
  emit(event, ...args) {
    const all = this.listeners[event];
    for (const listener of [...all ?? []]) {
      if (all?.has(listener)) guard(() => listener(...args));
    }
  }
  clear() {
    for (const event in this.listeners) this.listeners[event]?.clear();
  }
};
function guard(call) {
  try {
    call();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

// src/timing.ts
function backoff(failures, min = 500, max = 2e4) {
  return Math.min(max, min + Math.random() * Math.min(max, min * 2 ** failures));
}
var LONGEST = 2 ** 31 - 1;
var LATE = 1e3;
var Deadline = class {
  start(ms, expire, isLast = false) {
    this.stop();
    const due = Date.now() + ms;
    this.timer = setTimeout(() => {
      if (isLast || Date.now() - due < LATE) expire();
      else this.start(ms, expire, true);
    }, Math.min(ms, LONGEST));
  }
  stop() {
    clearTimeout(this.timer);
  }
};

// src/link.ts
var OPEN_TIMEOUT = 15e3;
var ANSWER_TIMEOUT = 1e4;
var BUSY_TIMEOUT = 3e4;
var Link = class {
  constructor(socket, owner, quiet) {
    this.socket = socket;
    this.owner = owner;
    this.quiet = quiet;
    this.over = false;
    this.heard = false;
    this.isAsking = false;
    this.deadline = new Deadline();
    socket.onopen = () => {
      if (this.over) return;
      this.listen();
      owner.opened();
    };
    socket.onmessage = ({ data }) => {
      if (this.over) return;
      this.heard = true;
      if (this.isAsking) this.listen();
      if (typeof data === "string") owner.received(data);
    };
    socket.onclose = ({ code, reason }) => this.end(code, reason);
    socket.onerror = () => {
    };
    this.deadline.start(OPEN_TIMEOUT, () => this.abandon("no answer to the handshake"));
  }
  get isOpen() {
    return !this.over && this.socket.readyState === 1;
  }
  send(text) {
    if (this.isOpen) this.socket.send(text);
  }
  /** Find out whether the connection still works. */
  probe() {
    if (this.over) return;
    if (this.socket.readyState > 1) return this.abandon("connection lost");
    if (!this.isOpen || this.isAsking) return;
    this.isAsking = true;
    const time = this.owner.isBusy() ? BUSY_TIMEOUT : ANSWER_TIMEOUT;
    this.deadline.start(time, () => this.abandon("the server does not answer"));
    this.owner.ping();
  }
  /** Close it without another word to the owner. */
  drop() {
    this.over = true;
    this.deadline.stop();
    try {
      this.socket.close(1e3);
    } catch {
    }
  }
  listen() {
    this.isAsking = this.heard = false;
    if (this.quiet) this.deadline.start(this.quiet, () => this.heard ? this.listen() : this.probe(), true);
    else this.deadline.stop();
  }
  abandon(reason) {
    if (this.over) return;
    this.drop();
    this.owner.ended(1006, reason);
  }
  end(code, reason) {
    if (this.over) return;
    this.over = true;
    this.deadline.stop();
    this.owner.ended(code, reason);
  }
};

// src/wire.ts
var JSON_PROTOCOL = "rr.json";
function parse(text) {
  try {
    const frame = JSON.parse(text);
    return typeof frame.topic === "string" ? frame : null;
  } catch {
    return null;
  }
}
function isPush(frame, areValues) {
  return areValues ? !("id" in frame) : typeof frame.payload === "string";
}
function recoveryOf(reply, topic) {
  const { history } = reply;
  return history && Object.prototype.hasOwnProperty.call(history, topic) ? history[topic] : void 0;
}
var encoder = new TextEncoder();
function size(text) {
  return encoder.encode(JSON.stringify(text)).length;
}

// src/session.ts
var MAX_SIZE = 48 * 1024;
var MAX_TOPICS = 1e3;
var isFinal = (reason) => /^$|^(refused|more than|a topic)/.test(reason);
var Session = class {
  constructor(topics, me, send) {
    this.topics = topics;
    this.me = me;
    this.send = send;
    this.memberships = /* @__PURE__ */ new Map();
    this.pending = /* @__PURE__ */ new Map();
    this.retries = /* @__PURE__ */ new Set();
    this.failures = 0;
    this.lastId = 0;
    this.isScheduled = false;
    this.isOver = false;
  }
  get isBusy() {
    return this.pending.size > 0;
  }
  /** Join and leave what has changed, all changes of this turn together. */
  schedule() {
    if (this.isScheduled) return;
    this.isScheduled = true;
    queueMicrotask(() => {
      this.isScheduled = false;
      if (!this.isOver) this.sync();
    });
  }
  /** Ask for an answer, and for nothing else: RoadRunner answers this, too. */
  ping() {
    this.command("leave", []);
  }
  /** Take a frame; `areValues` is said of payloads: they are JSON already, and no text. */
  receive(text, areValues) {
    const frame = parse(text);
    if (!frame) return;
    if (isPush(frame, areValues)) return this.pushed(frame, areValues);
    const command = this.answered(frame);
    if (frame.topic === "#gap" && Array.isArray(frame.payload)) {
      for (const name of frame.payload) this.topics.get(name)?.lost({ reason: "gap" });
    } else if (command?.command === "leave") {
      for (const name of command.topics) this.memberships.delete(name);
    } else if (command) {
      if (frame.topic === "@join") this.joined(command, frame);
      else this.refused(command.topics, frame.reason ?? "");
    }
    if (command?.topics.length) this.schedule();
  }
  pushed(frame, isValue) {
    const topic = this.topics.get(frame.topic);
    if (topic === (this.memberships.get(frame.topic)?.topic ?? topic)) topic?.received(frame, isValue);
  }
  end() {
    this.isOver = true;
    this.retries.forEach(clearTimeout);
    for (const topic of this.topics.values()) topic.disconnected();
  }
  sync() {
    const leaves = [];
    for (const [name, place] of this.memberships) {
      if (this.topics.get(name) === place.topic) continue;
      if (place.state === "refused") this.memberships.delete(name);
      if (place.state !== "joined") continue;
      place.state = "leaving";
      leaves.push(name);
    }
    this.inParts(leaves, (names) => this.command("leave", names));
    const joins = [];
    const alone = [];
    for (const [name, topic] of this.topics) {
      const place = this.memberships.get(name);
      if (place && !(place.state === "joined" && topic.wished && !place.wish)) continue;
      (topic.state === "refused" ? alone : joins).push(name);
      this.memberships.set(name, { topic, state: "joining", isIn: place !== void 0 });
    }
    this.inParts(joins, (names) => this.join(names));
    for (const name of alone) this.join([name]);
  }
  joinAll(parts) {
    for (const part of parts) if (part.length) this.join(part);
  }
  join(names) {
    const wishes = [];
    for (const name of names) {
      const place = this.memberships.get(name);
      if (!place) continue;
      place.wish = place.topic.wished;
      if (place.wish) wishes.push([name, place.wish]);
    }
    this.command("join", names, wishes.length ? { history: Object.fromEntries(wishes) } : {});
  }
  command(command, topics, more = {}) {
    const id = ++this.lastId;
    const first = id === 1 ? { me: this.me } : {};
    const made = { command, topics, id, ...first, ...more };
    this.pending.set(id, made);
    this.send(JSON.stringify(made));
  }
  /** Return the command that a frame answers. Without ids, answers come in the order of the commands. */
  answered(frame) {
    if (!/^([@#](join|leave)|#error)$/.test(frame.topic)) return void 0;
    const [oldest] = frame.topic === "#error" ? [] : this.pending.keys();
    const id = typeof frame.id === "number" ? frame.id : oldest;
    const command = this.pending.get(id);
    this.pending.delete(id);
    return command;
  }
  joined({ topics, history }, reply) {
    this.failures = 0;
    for (const name of topics) {
      const place = this.memberships.get(name);
      if (this.isOver) return;
      if (!place) continue;
      place.state = "joined";
      if (this.topics.get(name) === place.topic) place.topic.joined(place.wish, history && recoveryOf(reply, name));
    }
  }
  refused(names, reason) {
    const temporary = !isFinal(reason);
    const wanted = this.wanted(names);
    const half = Math.ceil(wanted.length / 2);
    const halves = [wanted.slice(0, half), wanted.slice(half)];
    if (temporary || names.length === 1) {
      for (const name of wanted) {
        const place = this.memberships.get(name);
        if (place && !temporary) place.state = place.isIn ? "joined" : "refused";
        place?.topic.refused(reason, temporary);
      }
    }
    if (this.isOver) return;
    if (temporary) this.later(/later$/.test(reason) ? [wanted] : halves);
    else if (names.length > 1) this.joinAll(halves);
  }
  later(parts) {
    const timer = setTimeout(() => {
      this.retries.delete(timer);
      this.joinAll(parts.map((names) => this.wanted(names)));
      this.schedule();
    }, backoff(this.failures++));
    this.retries.add(timer);
  }
  /** Those that the application has not left since they were asked for; the others are forgotten. */
  wanted(names) {
    return names.filter((name) => {
      const place = this.memberships.get(name);
      if (place && place.topic === this.topics.get(name)) return true;
      if (place?.isIn) place.state = "joined";
      else this.memberships.delete(name);
      return false;
    });
  }
  inParts(names, use) {
    let part = [];
    let bytes = 0;
    for (const name of names) {
      const more = 2 * size(name) + 70;
      if (bytes + more > MAX_SIZE || part.length === MAX_TOPICS) {
        use(part);
        part = [];
        bytes = 0;
      }
      part.push(name);
      bytes += more;
    }
    if (part.length) use(part);
  }
};

// src/topic.ts
var MAX_WAITING = 1e4;
function parsed(payload) {
  try {
    return JSON.parse(payload);
  } catch {
    return payload;
  }
}
var Subscription = class {
  constructor(name, options, owner) {
    this.name = name;
    this.owner = owner;
    this.state = "joining";
    this.position = null;
    this.wasJoined = false;
    /** Whether a message came on this connection: it is joined, if only by PHP. */
    this.hadMessage = false;
    this.events = new Emitter();
    this.iterations = /* @__PURE__ */ new Set();
    this.decode = options.decode;
    this.wish(options.history);
  }
  /** Ask for the history from the next join on, unless that was done. */
  wish(history) {
    this.history || (this.history = history === "" ? true : history);
  }
  /** What to ask for in a join. */
  get wished() {
    return this.history && (this.position ?? this.history);
  }
  on(event, listener) {
    return this.events.on(event, listener);
  }
  onGap(listener) {
    return this.on("lost", listener);
  }
  leave() {
    if (this.state === "left") return;
    this.state = "left";
    this.end();
    this.events.clear();
    this.owner.left(this);
  }
  [Symbol.asyncIterator]() {
    const waiting = [];
    const takers = [];
    let isOver = false;
    let failure;
    const changed = () => takers.splice(0).forEach((wake) => wake());
    const stop = (error) => {
      isOver = true;
      failure = error;
      off();
      this.iterations.delete(stop);
      changed();
    };
    const off = this.on("message", (message2) => {
      if (waiting.push(message2) > MAX_WAITING) {
        stop(new Error(`more than ${MAX_WAITING} messages of ${this.name} wait: the loop is too slow`));
      }
      changed();
    });
    this.iterations.add(stop);
    if (this.state === "left" || this.owner.state === "closed") stop();
    return {
      next: async () => {
        while (!waiting.length && !isOver) await new Promise((resolve2) => {
          takers.push(resolve2);
        });
        const error = failure;
        failure = void 0;
        if (error) {
          waiting.length = 0;
          throw error;
        }
        return waiting.length ? { value: waiting.shift(), done: false } : { value: void 0, done: true };
      },
      return: async () => {
        waiting.length = 0;
        stop();
        return { value: void 0, done: true };
      }
    };
  }
  /** End all iterations: no more will come. */
  end() {
    for (const stop of [...this.iterations]) stop();
  }
  // What the session tells
  received({ payload, pos }, isValue) {
    if (this.state === "joining" && (this.history || this.wasJoined)) return;
    const position = typeof pos === "string" ? pos : null;
    if (position && this.history) this.position = position;
    this.hadMessage = true;
    guard(() => {
      const text = typeof payload === "string" ? payload : JSON.stringify(payload);
      const message2 = this.decode ? this.decode(text) : isValue ? payload : parsed(text);
      this.events.emit("message", message2, { topic: this.name, payload: text, position });
    });
  }
  /** It was joined; `wish` is what was asked for, `found` what was answered to that. The messages follow. */
  joined(wish, found) {
    this.position = found?.pos ?? null;
    const wasIn = this.state === "joined";
    const again = this.wasJoined && !wasIn;
    this.wasJoined = true;
    this.state = "joined";
    const count = found?.count ?? 0;
    const isSince = typeof wish === "string";
    if (isSince && typeof this.history === "string") this.history = true;
    if (isSince && found?.recovered) this.events.emit("recovered", { count });
    else if (again || wish && wish !== true && !found?.recovered) this.lost({ reason: found?.reason ?? "off" });
    if (!wasIn) this.events.emit("joined", { again, count });
  }
  refused(reason, temporary) {
    if (!temporary && this.state !== "joined") this.state = "refused";
    const refused = { reason, temporary };
    this.events.emit("refused", refused);
    this.owner.events.emit("refused", refused, this);
  }
  lost(lost) {
    this.events.emit("lost", lost);
    this.owner.events.emit("lost", lost, this);
  }
  disconnected() {
    if (this.state === "joined") this.state = "joining";
    this.wasJoined || (this.wasJoined = this.hadMessage);
    this.hadMessage = false;
  }
};

// src/wakeups.ts
function onWakeups(wake, doubt, sleep) {
  const scope = globalThis;
  const page = scope.document;
  const seen = () => {
    if (page?.visibilityState === "visible") wake();
  };
  const wanted = [
    [scope, "online", wake],
    [scope, "offline", doubt],
    [scope, "pageshow", wake],
    [scope, "pagehide", sleep],
    [page, "visibilitychange", seen]
  ];
  for (const [target, type, listener] of wanted) target?.addEventListener?.(type, listener);
  return () => {
    for (const [target, type, listener] of wanted) target?.removeEventListener?.(type, listener);
  };
}

// src/client.ts
var GOOD = 5e3;
var EXPIRED = 4001;
var POLICY = 1008;
var WORDS = {
  1001: "the server stops, or the page is left",
  // Firefox says it of the latter
  1013: "the server asks to try again later",
  [EXPIRED]: "the token has expired"
};
var Connector = class {
  constructor(url, options) {
    this.url = url;
    this.options = options;
    this.state = "closed";
    this.reason = "";
    this.topics = /* @__PURE__ */ new Map();
    this.events = new Emitter();
    this.failures = 0;
    this.openedAt = 0;
    this.attempt = 0;
    const found = options.WebSocket ?? globalThis.WebSocket;
    if (!found) throw new Error("there is no WebSocket here: give one in the options, such as that of the package ws");
    this.WebSocket = found;
    this.me = `${options.me ?? randomId()}`;
    if (!/^.{1,64}$/su.test(this.me)) throw new Error("me has 1 to 64 characters");
    this.reconnect();
    if (this.isClosed()) throw new Error(this.reason);
  }
  topic(name, options = {}) {
    let topic = this.topics.get(name);
    if (topic) {
      topic.wish(options.history);
    } else {
      topic = new Subscription(name, options, this);
      this.topics.set(name, topic);
    }
    this.session?.schedule();
    return topic;
  }
  left(topic) {
    if (this.topics.get(topic.name) === topic) this.topics.delete(topic.name);
    this.session?.schedule();
  }
  on(event, listener) {
    return this.events.on(event, listener);
  }
  onGap(listener) {
    return this.on("lost", listener);
  }
  reconnect() {
    this.disconnect();
    this.failures = 0;
    this.token = this.asking = void 0;
    this.stopWakeups ?? (this.stopWakeups = onWakeups(() => this.wake(), () => this.link?.probe(), () => this.sleep()));
    this.open("asked to");
  }
  close() {
    this.stop("closed by the application");
  }
  // Attempts
  open(reason) {
    clearTimeout(this.timer);
    const attempt = ++this.attempt;
    this.set({ state: "connecting", reason });
    if (attempt !== this.attempt) return;
    if (!this.options.token || this.token !== void 0) return this.dial();
    this.asking ?? (this.asking = Promise.resolve().then(this.options.token));
    const { asking } = this;
    const answered = (token) => {
      if (this.asking === asking) [this.asking, this.token] = [void 0, token];
      return attempt === this.attempt;
    };
    asking.then(
      (token) => {
        if (!answered(token ?? void 0)) return;
        if (token === null) this.stop("there is no token");
        else this.dial();
      },
      (error) => {
        if (answered(void 0)) this.wait(`no token: ${message(error)}`);
      }
    );
  }
  dial() {
    const { url, options: { protocols = [], ping = 25e3 }, token = "" } = this;
    this.openedAt = 0;
    let socket;
    try {
      const wanted = typeof protocols === "function" ? protocols(token) : protocols;
      socket = new this.WebSocket(resolve(typeof url === "function" ? url(token) : url), wanted);
    } catch (error) {
      return this.stop(message(error));
    }
    const session = new Session(this.topics, this.me, (text) => link.send(text));
    const link = new Link(socket, {
      opened: () => this.opened(session),
      received: (text) => session.receive(text, socket.protocol === JSON_PROTOCOL),
      ended: (code, reason) => this.ended(code, reason),
      ping: () => session.ping(),
      isBusy: () => session.isBusy
    }, ping);
    this.link = link;
  }
  opened(session) {
    this.openedAt = Date.now();
    this.session = session;
    session.schedule();
    this.set({ state: "connected", reason: "" });
  }
  ended(code, said) {
    const words = said || WORDS[code] || (this.openedAt ? "connection lost" : "the server cannot be reached, or refuses");
    const failed = !this.openedAt;
    if (code === POLICY || code >= 4500 && code < 5e3) return this.stop(words, code);
    if (failed || code === EXPIRED) this.token = void 0;
    if (!failed && Date.now() - this.openedAt >= GOOD) this.failures = 0;
    this.wait(words, code);
  }
  wait(reason, code) {
    this.disconnect();
    const { min, max } = this.options.delay ?? {};
    const delay = backoff(this.failures++, min, max);
    this.timer = setTimeout(() => this.open("trying again"), delay);
    this.set({ state: "waiting", reason, ...code !== void 0 && { code }, delay });
  }
  stop(reason, code) {
    if (this.isClosed()) return;
    this.disconnect();
    this.stopWakeups?.();
    this.stopWakeups = void 0;
    this.set({ state: "closed", reason, ...code !== void 0 && { code } });
    if (this.isClosed()) this.topics.forEach((topic) => topic.end());
  }
  /** End the connection or attempt; nothing of it is heard of any more. */
  disconnect() {
    this.attempt++;
    clearTimeout(this.timer);
    this.link?.drop();
    this.session?.end();
    this.link = this.session = void 0;
  }
  wake() {
    if (this.state === "waiting") this.open("the page or the network is back");
    else this.link?.probe();
  }
  sleep() {
    this.disconnect();
    this.set({ state: "waiting", reason: "the page is left" });
  }
  isClosed() {
    return this.state === "closed";
  }
  set(change) {
    this.state = change.state;
    this.reason = change.reason;
    this.events.emit("state", change);
  }
};
function resolve(address) {
  const base = globalThis.location?.href;
  return new URL(typeof address === "string" ? address : address.href, base).href.replace(/^http/, "ws");
}
function message(error) {
  return error instanceof Error ? error.message : String(error);
}
function randomId() {
  return [0, 0].map(() => Math.random().toString(36).slice(2)).join("");
}

// src/index.ts
function connect(url, options = {}) {
  return new Connector(url, options);
}
export {
  connect
};
