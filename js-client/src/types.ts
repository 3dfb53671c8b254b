/** What an application sees. */

/** Where the connection is: `waiting` is between two attempts, `closed` is the end unless `reconnect` is called. */
export type State = 'connecting' | 'connected' | 'waiting' | 'closed';

/** A change of the connection's state, with why. */
export interface StateChange {
  state: State;
  /** In words, for a log or a person. */
  reason: string;
  /** The close code of the connection that ended; 1006 when there was none. */
  code?: number;
  /** In `waiting`: milliseconds until the next attempt; absent when it waits for the page or the network. */
  delay?: number;
}

/** `joining` also while there is no connection; `refused` until the next connection, or a retry of the client. */
export type TopicState = 'joining' | 'joined' | 'refused' | 'left';

/** What is wished of a topic's history: positions from now on, the newest `n` messages, or all since a position. */
export type History = true | string | {last: number};

/**
 * Why messages may be missing:
 *
 * - `off`: the server keeps no history of the topic, or was not asked for it
 * - `epoch`: it has another history by now (it was restarted or lost its data)
 * - `trimmed`: the oldest of what was missed is not kept any more
 * - `limit`: more was missed than a client may have at once
 * - `ahead`: the position is beyond the newest message
 * - `gap`: the server had to skip messages while we were connected
 */
export type LostReason = 'off' | 'epoch' | 'trimmed' | 'limit' | 'ahead' | 'gap' | (string & {});

/** Messages of a topic may be missing: load anew what is shown. */
export interface Lost {
  reason: LostReason;
}

/** Nothing is missing: `count` messages that came meanwhile follow, in order. */
export interface Recovered {
  count: number;
}

/** A topic was joined: what is published from now on arrives. */
export interface Joined {
  /** Whether it had been joined before, on an earlier connection. */
  again: boolean;
  /** How many messages of the history follow. */
  count: number;
}

/** A topic may not be joined. */
export interface Refused {
  /** Empty when the server gives none. */
  reason: string;
  /** Whether the client tries again by itself, since the server could not decide. */
  temporary: boolean;
}

/** What comes with a message. */
export interface Push {
  topic: string;
  /** As it was published. */
  payload: string;
  /** The place of the message in the topic's history; null without one. */
  position: string | null;
}

/** Events of a topic, and what a listener gets. */
export interface TopicEvents<T> {
  message: [message: T, push: Push];
  joined: [joined: Joined];
  recovered: [recovered: Recovered];
  lost: [lost: Lost];
  refused: [refused: Refused];
}

/** Events of a client, and what a listener gets. */
export interface ClientEvents {
  state: [change: StateChange];
  lost: [lost: Lost, topic: Topic];
  refused: [refused: Refused, topic: Topic];
}

/** Ends what began with `on`. */
export type Off = () => void;

/** Options of a topic. Those of the first `topic` call for a name count; a later one may add `history`. */
export interface TopicOptions<T> {
  /** Ask for positions, so that what is missed is sent again after a reconnect. */
  history?: History;
  /** Makes a message of a payload. By default JSON is parsed, and other text stays text. */
  decode?: (payload: string) => T;
}

/** A topic, made by `Client.topic`. Iterate it for its messages. */
export interface Topic<T = unknown> extends AsyncIterable<T> {
  readonly name: string;
  readonly state: TopicState;
  /** The place in the topic's history of what has arrived, for `history` of another page; null without one. */
  readonly position: string | null;
  /** Call a function at each event; it is there once, however often it is given. */
  on<E extends keyof TopicEvents<T>>(event: E, listener: (...args: TopicEvents<T>[E]) => void): Off;
  /** The same as `on('lost')`. */
  onGap(listener: (lost: Lost) => void): Off;
  /** Leave it for all who use it. Iterations end; `Client.topic` joins it anew. */
  leave(): void;
}

/** A client, made by `connect`. */
export interface Client {
  readonly state: State;
  /** Why it is in this state. */
  readonly reason: string;
  /** The id of this client, which survives reconnects: a publisher that is told can exclude it. */
  readonly me: string;
  /** Return a topic, and join it if that is new. */
  topic<T = unknown>(name: string, options?: TopicOptions<T>): Topic<T>;
  /** Call a function at each event; it is there once, however often it is given. */
  on<E extends keyof ClientEvents>(event: E, listener: (...args: ClientEvents[E]) => void): Off;
  /** The same as `on('lost')`: of all topics. */
  onGap(listener: (lost: Lost, topic: Topic) => void): Off;
  /** Connect anew, now: after signing in as another person, or after `closed`. */
  reconnect(): void;
  /** Close the connection and end all iterations. */
  close(): void;
}

/** A `WebSocket`, as far as it is used. */
export interface WebSocketLike {
  readonly readyState: number;
  /** The subprotocol that was agreed to. */
  readonly protocol?: string;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(data: string): void;
  close(code?: number, reason?: string): void;
}

/** What makes WebSockets. */
export type WebSocketConstructor = new (url: string, protocols?: string | string[]) => WebSocketLike;

/** An address, such as a `URL`; relative to the page, if there is one. */
export type Address = string | {readonly href: string};

/** Where to connect; a function is called for each attempt. */
export type AddressSource = Address | ((token: string) => Address);

/** Options of `connect`. */
export interface Options {
  /**
   * Gets a token: before the first connection, after close code 4001, and after an attempt that failed. The URL or
   * `protocols` carry it. Null closes the client; a failure is tried again like one of the connection.
   */
  token?: () => string | null | Promise<string | null>;
  /** Subprotocols. */
  protocols?: string[] | ((token: string) => string[]);
  /** An id of your own for `Client.me`: up to 64 characters. */
  me?: string;
  /** The least and the longest time between two attempts, in milliseconds. */
  delay?: {min?: number; max?: number};
  /** After so many milliseconds without a word the server is asked for one; 0 for never. */
  ping?: number;
  /** What makes WebSockets where there is no global one, as in Node.js before 22. */
  WebSocket?: WebSocketConstructor;
}
